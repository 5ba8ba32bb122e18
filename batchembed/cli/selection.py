"""Which videos and which failures a command line means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from batchembed.core.failures import FAILED, names_a_failure, retry_names
from batchembed.core.model import Video, VideoId
from batchembed.core.states import Entry
from batchembed.errors import UsageError
from batchembed.manifest.explain import closest


def chosen(videos: Sequence[Video], patterns: Sequence[str]) -> tuple[VideoId, ...]:
    """The ids that the patterns name, in the manifest's order; none where there is no pattern.

    A pattern is an id itself, or has `*`, `?` and `[...]`.

    Raises:
        UsageError: a pattern names no video.
    """
    ids = [video.video_id for video in videos]
    found: set[VideoId] = set()
    for pattern in patterns:
        named = {pattern} & set(ids) or {each for each in ids if fnmatchcase(each, pattern)}
        if not named:
            if set(pattern) & set("*?["):  # an id that looks like it was not meant
                raise UsageError(f"--only {pattern!r}: no id of the manifest matches this pattern")
            raise UsageError(
                f"--only {pattern!r} names no video of the manifest{_meant(pattern, ids)}"
            )
        found |= {each for each in ids if each in named}
    return tuple(each for each in ids if each in found)


def the_video(videos: Sequence[Video], video_id: str) -> Video | None:
    """The manifest's video of this id, if it has one."""
    return next((video for video in videos if video.video_id == video_id), None)


def no_such_video(videos: Iterable[Video], video_id: str) -> UsageError:
    """Neither manifest nor ledger know this id."""
    near = _meant(video_id, [video.video_id for video in videos])
    return UsageError(f"there is no video {video_id!r} in the manifest{near}")


def require_retry(wanted: str | None, entries: Iterable[Entry]) -> None:
    """Check what `--retry` says.

    Raises:
        UsageError: it names nothing that could have failed.
    """
    if wanted is None:
        return
    which, colon, narrowed = wanted.partition(":")
    if which != FAILED or (colon and not narrowed):
        raise UsageError(
            f"--retry {wanted!r} is not known: write `failed`, `failed:transient`, or "
            "`failed:` and a class or code that `batchembed failures` prints"
        )
    before = tuple(entries)
    if narrowed and not names_a_failure(narrowed, before):
        near = _meant(narrowed, sorted(retry_names(before)))
        raise UsageError(
            f"--retry failed:{narrowed} names no class or code of a failure{near}; "
            "`batchembed failures` prints those there are"
        )


def _meant(word: str, legal: Sequence[str]) -> str:
    near = closest(word, legal)
    return f"; did you mean {near}?" if near else ""
