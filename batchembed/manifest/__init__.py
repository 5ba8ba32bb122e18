"""Reads a manifest: text with positions, problems, and the resolved list of videos."""
