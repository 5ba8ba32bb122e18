"""What the bits of an embedding depend on besides the video, for a dataset to record."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from pathlib import Path

import av

from batchembed.engine.encoders.local_v1.model_file import ONNX_SHA256

#: Extensions that change the last bits of a sum, widest first.
_EXTENSIONS = ("avx512f", "avx2", "avx", "sse4_2")
_CPU_INFO = Path("/proc/cpuinfo")


@functools.cache
def engine_versions() -> dict[str, str]:
    """Encoder, its sha256, onnxruntime, NumPy, PyAV, FFmpeg and the kind of CPU, each as text.

    onnxruntime is asked by its package, not imported; where it is not installed, it is `none`.
    """
    return {
        "encoder": "local-v1",
        "encoder_sha256": ONNX_SHA256,
        "onnxruntime": _installed("onnxruntime"),
        "numpy": _installed("numpy"),
        "pyav": av.__version__,
        "ffmpeg": av.ffmpeg_version_info,
        "cpu": cpu_kind(_CPU_INFO),
    }


def cpu_kind(cpu_info: Path) -> str:
    """The architecture, and the widest vector extension that Linux lists, such as `x86_64 avx2`."""
    machine = platform.machine()
    try:
        text = cpu_info.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return machine
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    widest = next((name for name in _EXTENSIONS if name in flags), None)
    return f"{machine} {widest}" if widest else machine


def _installed(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"
