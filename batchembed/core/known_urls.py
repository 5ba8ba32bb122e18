"""The URLs that creates are made of, known again however a service's listing writes them."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote, unquote_to_bytes, urlsplit, urlunsplit

from batchembed.core.keys import unsigned_url, url_content

#: The port that a URL need not name.
_PORTS = {"http": 80, "https": 443}


def normal_url(url: str) -> str:
    """The URL without user, fragment and signature, in the one form of all its spellings.

    Raises:
        ValueError: it is none.
    """
    parts = urlsplit(unsigned_url(url))
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    if parts.port not in {None, _PORTS.get(parts.scheme)}:
        host = f"{host}:{parts.port}"
    path = "/".join(quote(unquote_to_bytes(name), safe="") for name in parts.path.split("/"))
    return urlunsplit((parts.scheme, host, path or "/", parts.query, ""))


@dataclass(frozen=True, kw_only=True)
class KnownUrls:
    """The URLs that creates are made of, to be known again however a service writes them."""

    urls: Iterable[str] = ()

    def digests(self, shown: str) -> tuple[str, frozenset[str]]:
        """The digest of a URL as a create names it, and those of others that it may stand for.

        Raises:
            ValueError: it is none.
        """
        own, form = url_content(shown).digest, normal_url(shown)
        same = self._by_form.get(form, frozenset())
        if len(same) == 1:
            (own,) = same
        return own, (same | self._by_form_without_query.get(form, frozenset())) - {own}

    @cached_property
    def _by_form(self) -> Mapping[str, frozenset[str]]:
        return _grouped(self._forms())

    @cached_property
    def _by_form_without_query(self) -> Mapping[str, frozenset[str]]:
        cut = ((form.partition("?"), digest) for form, digest in self._forms())
        return _grouped((form, digest) for (form, mark, _), digest in cut if mark)

    def _forms(self) -> Iterator[tuple[str, str]]:
        for url in self.urls:
            with contextlib.suppress(ValueError):
                yield normal_url(url), url_content(url).digest


def _grouped(pairs: Iterable[tuple[str, str]]) -> Mapping[str, frozenset[str]]:
    found = defaultdict(set)
    for form, digest in pairs:
        found[form].add(digest)
    return {form: frozenset(digests) for form, digests in found.items()}
