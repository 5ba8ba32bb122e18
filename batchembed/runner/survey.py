"""Reads each video's file once, and says which job it is, or why it can't be one.

What a file told is remembered in the ledger under its identity (device, inode, size, times), what
an object told under what its store says of it: as long as that stands, nothing is read again.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

import msgspec

from batchembed.core.keys import job_key, object_content, url_content
from batchembed.core.model import (
    Content,
    Facts,
    FileSource,
    Identity,
    Job,
    Manifest,
    ObjectIdentity,
    ObjectSource,
    Profile,
    ReadSource,
    UrlSource,
    Video,
    address,
)
from batchembed.core.problems import Reason
from batchembed.core.rules import options_absent
from batchembed.media.identity import identify, sha256_file
from batchembed.media.limits import breaches
from batchembed.media.objects import identify_object, probe_object
from batchembed.media.probe import probe
from batchembed.media.unreadable import DENIED, MISSING, UNREADABLE, UnreadableVideoError
from batchembed.runner.stopping import Stop, StoppedError
from batchembed.store.ledger import KnownFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """A video, and its job or the reasons why it has none."""

    video: Video
    job: Job | None
    facts: Facts | None
    identity: Identity | None
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()
    options_absent: tuple[str, ...] = ()

    @property
    def unread(self) -> bool:
        """Whether the video could not be read at all, as against breaking a limit."""
        return bool(self.reasons) and self.facts is None and not self.denied

    @property
    def denied(self) -> bool:
        """Whether only its store stands in the way: it is no worse than before, and waits."""
        return any(reason.code == DENIED for reason in self.reasons)


def judge(
    video: Video, read: Facts | Reason, manifest: Manifest
) -> tuple[tuple[Reason, ...], tuple[Reason, ...]]:
    """The reasons that reject a video, and those that only warn."""
    if isinstance(read, Reason):
        return (read,), ()
    found = breaches(read, video.parameters, video.embedding_option, manifest.profile)
    if manifest.on_limit_violation == "reject":
        return found, ()
    # No embedding could come of it, so it is not worth its price, whatever the policy.
    hopeless = tuple(reason for reason in found if reason.code == "embed_no_embeddings_found")
    return hopeless, tuple(reason for reason in found if reason not in hopeless)


def read_source(source: ReadSource, known: KnownFile | None, *, hashed: bool) -> KnownFile | Reason:
    """What a video's file or object tells: what is remembered while its identity stands, else read anew.

    With `hashed`, the sha256 of a file too. A `Reason` where there is nothing to be identified.

    Raises:
        StoreError: a store that no video can be read from.
    """
    if isinstance(source, ObjectSource):
        return _read_object(source, known)
    return read_file(source, known, hashed=hashed)


def _read_object(source: ObjectSource, known: KnownFile | None) -> KnownFile | Reason:
    try:
        if known is not None and identify_object(source) == known.identity:
            return known
        identity, facts = probe_object(source)
    except UnreadableVideoError as error:
        return error.reason
    return KnownFile(identity=identity, facts=facts)


def read_file(
    source: FileSource, known: KnownFile | None, *, hashed: bool, looks: int = 2
) -> KnownFile | Reason:
    """What a file tells: what is remembered of it while its identity stands, else read anew.

    With `hashed`, the sha256 too, of the bytes that the facts are of: a file that changes while it
    is hashed is read anew, `looks` times at most. After that it is still being written, as whoever
    is to send it will see. A `Reason` where the file is not there to be identified.
    """
    path = source.path
    identity = identify(path, shown=source.shown)
    if isinstance(identity, Reason):
        return identity
    if known is None or known.identity != identity:
        known = KnownFile(identity=identity, facts=probe(path))
    if hashed and known.sha256 is None and isinstance(known.facts, Facts):
        try:
            known = msgspec.structs.replace(known, sha256=sha256_file(path))
        except UnreadableVideoError as error:
            return error.reason
        if looks > 1 and identify(path, shown=source.shown) != identity:
            return read_file(source, None, hashed=True, looks=looks - 1)
    return known


def surveyed(
    video: Video, read: KnownFile | Reason, manifest: Manifest, profile: Profile
) -> Surveyed:
    """What a video of a file or an object is, from what that told."""
    facts = read if isinstance(read, Reason) else read.facts
    reasons, warnings = judge(video, facts, manifest)
    known_facts = facts if isinstance(facts, Facts) else None
    content = None if isinstance(read, Reason) else _content(read)
    job = None
    if not reasons and content is not None:
        job = _job(video, content, known_facts)
    return Surveyed(
        video=video,
        job=job,
        facts=known_facts,
        identity=None if isinstance(read, Reason) else read.identity,
        reasons=reasons,
        warnings=warnings,
        options_absent=options_absent(
            video.embedding_option, known_facts, audio_options=profile.audio_options
        ),
    )


def _content(read: KnownFile) -> Content | None:
    """Identity of what was read; of a file, once it is hashed."""
    if isinstance(read.identity, ObjectIdentity):
        return object_content(read.identity)
    return None if read.sha256 is None else Content(kind="sha256", digest=read.sha256)


def survey(
    video: Video, known: Mapping[str, KnownFile], manifest: Manifest, profile: Profile
) -> Surveyed:
    """Probe, judge, and only then hash: a file that is rejected is never read to its end."""
    source = video.source
    if isinstance(source, UrlSource):
        return surveyed_url(video, source.url)
    read = read_source(source, known.get(address(source)), hashed=False)
    if wants_hash(read, video, manifest, profile):
        read = read_source(source, read, hashed=True)
    return surveyed(video, read, manifest, profile)


def wants_hash(
    read: KnownFile | Reason, video: Video, manifest: Manifest, profile: Profile
) -> TypeGuard[KnownFile]:
    """Whether all that a video lacks to be a job is the sha256 of its file."""
    found = surveyed(video, read, manifest, profile)
    return isinstance(read, KnownFile) and found.job is None and not found.reasons


def surveyed_url(video: Video, url: str) -> Surveyed:
    """What a video at a URL is: nothing of it can be probed."""
    return Surveyed(video=video, job=_job(video, url_content(url), None), facts=None, identity=None)


def _job(video: Video, content: Content, facts: Facts | None) -> Job:
    return Job(
        job_key=job_key(content, video.parameters),
        content=content,
        source=video.source,
        parameters=video.parameters,
        facts=facts,
    )


class Surveyor:
    """Surveys videos in worker threads, each file once, and remembers what they told."""

    def __init__(
        self,
        manifest: Manifest,
        profile: Profile,
        known: Mapping[str, KnownFile],
        remember: Callable[[KnownFile], Awaitable[None]],
        stop: Stop,
    ) -> None:
        self._manifest = manifest
        self._profile = profile
        self._known = known
        self._remember = remember
        self._stop = stop
        self._turn = asyncio.Semaphore(manifest.concurrency.probes)
        self._reading: dict[tuple[str, bool], asyncio.Task[KnownFile | Reason]] = {}

    async def survey(self, video: Video) -> Surveyed:
        """As the function `survey`, but each file is read once, however many videos share it.

        Raises:
            StoppedError: the run was told to drain before the file's turn came.
            StoreError: a store that no video can be read from.
        """
        source = video.source
        if isinstance(source, UrlSource):
            return surveyed_url(video, source.url)
        read = await self._read(video, source)
        if wants_hash(read, video, self._manifest, self._profile):
            # It was read for a video that is rejected, or the run drained meanwhile.
            read = await self._read(video, source, probed=read)
        return surveyed(video, read, self._manifest, self._profile)

    def _read(
        self, video: Video, source: ReadSource, probed: KnownFile | None = None
    ) -> asyncio.Task[KnownFile | Reason]:
        key = address(source), probed is not None
        if key not in self._reading:
            if probed is not None:
                look = functools.partial(read_source, source, probed, hashed=True)
            else:
                look = functools.partial(self._look, video, source)
            self._reading[key] = asyncio.create_task(self._read_once(source, look))
        return self._reading[key]

    async def _read_once(
        self, source: ReadSource, look: Callable[[], KnownFile | Reason]
    ) -> KnownFile | Reason:
        async with self._turn:
            if self._stop.is_set():  # it may have been a long queue
                raise StoppedError
            read = await asyncio.to_thread(look)
        before = self._known.get(address(source))
        if isinstance(read, KnownFile) and read != before and not _may_pass(read.facts):
            await self._remember(read)
        return read

    def _look(self, video: Video, source: ReadSource) -> KnownFile | Reason:
        """What a file tells, as far as this video needs it; unless the run drains. It blocks."""
        read = read_source(source, self._known.get(address(source)), hashed=False)
        if wants_hash(read, video, self._manifest, self._profile) and not self._stop.is_set():
            return read_source(source, read, hashed=True)
        return read


def _may_pass(read: Facts | Reason) -> bool:
    """Whether a file that can't be read now may be as it is and read well later."""
    return isinstance(read, Reason) and read.code in {UNREADABLE, MISSING}
