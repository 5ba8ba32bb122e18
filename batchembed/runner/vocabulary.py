"""The words that a service has for a task's status."""

from __future__ import annotations

from collections.abc import Callable

_KNOWN = frozenset({"processing", "ready", "failed"})
_LONGEST = 40
#: More new words than this are no vocabulary.
_MOST_WORDS = 20


class Vocabulary:
    """Tells of words that nobody knows."""

    def __init__(self, odd: Callable[[str], None]) -> None:
        """Know the documented ones.

        Args:
            odd: is told of each other word, once.
        """
        self._odd = odd
        self._words: set[str] = set()

    def hear(self, status: str | None) -> None:
        """A status that is none of the documented counts as processing."""
        if status is None or status in _KNOWN:
            return
        word = "".join(letter if letter.isprintable() else "?" for letter in status[:_LONGEST])
        if word not in self._words and len(self._words) < _MOST_WORDS:
            self._words.add(word)
            self._odd(word)
