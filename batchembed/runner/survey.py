"""Reads each video's file once, and says which job it is, or why it can't be one.

What a file told is remembered in the ledger under its identity (device, inode, size, times): as
long as that stands, nothing is opened or hashed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import msgspec

from batchembed.core.keys import job_key, url_content
from batchembed.core.model import (
    Content,
    Facts,
    FileIdentity,
    FileSource,
    Job,
    Manifest,
    Profile,
    Video,
)
from batchembed.core.problems import Reason
from batchembed.core.rules import options_absent
from batchembed.media.identity import identify, sha256_file
from batchembed.media.limits import breaches
from batchembed.media.probe import probe
from batchembed.media.unreadable import MISSING, UNREADABLE, UnreadableVideoError
from batchembed.store.ledger import KnownFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Surveyed:
    """A video, and its job or the reasons why it has none."""

    video: Video
    job: Job | None
    facts: Facts | None
    identity: FileIdentity | None
    reasons: tuple[Reason, ...] = ()
    warnings: tuple[Reason, ...] = ()
    options_absent: tuple[str, ...] = ()

    @property
    def unread(self) -> bool:
        """Whether the video could not be read at all, as against breaking a limit."""
        return bool(self.reasons) and self.facts is None


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


def read_file(path: str, known: KnownFile | None, *, hashed: bool) -> KnownFile | Reason:
    """What a file tells: what is remembered of it while its identity stands, else read anew.

    With `hashed`, the sha256 too. A `Reason` where the file is not there to be identified.
    """
    identity = identify(path)
    if isinstance(identity, Reason):
        return identity
    if known is None or known.identity != identity:
        known = KnownFile(identity=identity, facts=probe(path))
    if hashed and known.sha256 is None and isinstance(known.facts, Facts):
        try:
            known = msgspec.structs.replace(known, sha256=sha256_file(path))
        except UnreadableVideoError as error:
            return error.reason
    return known


def surveyed(
    video: Video, read: KnownFile | Reason, manifest: Manifest, profile: Profile
) -> Surveyed:
    """What a video of a file is, from what its file told."""
    facts = read if isinstance(read, Reason) else read.facts
    reasons, warnings = judge(video, facts, manifest)
    known_facts = facts if isinstance(facts, Facts) else None
    sha256 = None if isinstance(read, Reason) else read.sha256
    job = None
    if not reasons and sha256 is not None:
        job = _job(video, Content(kind="sha256", digest=sha256), known_facts)
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


def survey(
    video: Video, known: Mapping[str, KnownFile], manifest: Manifest, profile: Profile
) -> Surveyed:
    """Probe, judge, and only then hash: a file that is rejected is never read to its end."""
    source = video.source
    if not isinstance(source, FileSource):
        return surveyed_url(video, source.url)
    read = read_file(source.path, known.get(source.path), hashed=False)
    found = surveyed(video, read, manifest, profile)
    if found.reasons or found.job is not None or isinstance(read, Reason):
        return found
    return surveyed(video, read_file(source.path, read, hashed=True), manifest, profile)


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
    ) -> None:
        self._manifest = manifest
        self._profile = profile
        self._known = known
        self._remember = remember
        self._turn = asyncio.Semaphore(manifest.concurrency.probes)
        self._reading: dict[tuple[str, bool], asyncio.Task[KnownFile | Reason]] = {}

    async def survey(self, video: Video) -> Surveyed:
        """As the function `survey`, but each file is read once, however many videos share it."""
        source = video.source
        if not isinstance(source, FileSource):
            return surveyed_url(video, source.url)
        found = surveyed(
            video, await self._read(source.path, hashed=False), self._manifest, self._profile
        )
        if found.reasons or found.job is not None:
            return found
        return surveyed(
            video, await self._read(source.path, hashed=True), self._manifest, self._profile
        )

    def _read(self, path: str, *, hashed: bool) -> asyncio.Task[KnownFile | Reason]:
        if (path, hashed) not in self._reading:
            self._reading[path, hashed] = asyncio.create_task(self._read_once(path, hashed=hashed))
        return self._reading[path, hashed]

    async def _read_once(self, path: str, *, hashed: bool) -> KnownFile | Reason:
        before = self._known.get(path)
        if hashed:
            probed = await self._read(path, hashed=False)
            before = before if isinstance(probed, Reason) else probed
        async with self._turn:
            read = await asyncio.to_thread(read_file, path, before, hashed=hashed)
        if isinstance(read, KnownFile) and read != before and not _may_pass(read.facts):
            await self._remember(read)
        return read


def _may_pass(read: Facts | Reason) -> bool:
    """Whether a file that can't be read now may be as it is and read well later."""
    return isinstance(read, Reason) and read.code in {UNREADABLE, MISSING}
