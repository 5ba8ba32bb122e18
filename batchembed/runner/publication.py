"""What of a run is published, and when: the rows there are, in the manifest's order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from batchembed.core.failures import is_of_no_video
from batchembed.core.groups import GroupCutter
from batchembed.core.model import JobKey, Manifest, Video, VideoId
from batchembed.core.outcome import Outcome, VideoOutcome
from batchembed.core.states import Entry, State
from batchembed.dataset.publish import RowSpec
from batchembed.runner.survey import Surveyed


def row_spec(found: Surveyed, entry: Entry) -> RowSpec:
    """The rows that a video has, and what stands beside its vectors in each row."""
    job, staged = found.job, entry.staged
    if job is None or staged is None:
        msg = f"video {found.video.video_id} has no rows"
        raise ValueError(msg)
    facts = found.facts
    return RowSpec(
        video_id=found.video.video_id,
        source=found.video.source.shown,
        source_sha256=job.content.source_sha256,
        job_key=job.job_key,
        rows_sha256=staged.sha256,
        rows=staged.rows,
        options=found.video.embedding_option,
        duration_sec=None if facts is None else facts.duration_sec,
        width=None if facts is None else facts.width,
        height=None if facts is None else facts.height,
        metadata=found.video.metadata,
    )


@dataclass(kw_only=True)
class Publication:
    """Keeps what has ended, and says when enough has for a new record."""

    manifest: Manifest
    before: Mapping[VideoId, RowSpec]  #: the last record's
    entries: Mapping[JobKey, Entry]
    chosen: frozenset[VideoId]  #: the videos that this run is asked for
    ended: dict[VideoId, tuple[Surveyed | None, VideoOutcome]] = field(default_factory=dict)
    asked: dict[VideoId, JobKey | None] = field(default_factory=dict)  #: of surveyed videos
    _leading: int = 0
    _cutter: GroupCutter = field(default_factory=GroupCutter)

    def end(self, video: Video, found: Surveyed | None, outcome: VideoOutcome) -> bool:
        """Take note of a video's end; True when the leading ended videos fill another group."""
        self.ended[video.video_id] = (found, outcome)
        filled = False
        videos = self.manifest.videos
        while self._leading < len(videos) and videos[self._leading].video_id in self.ended:
            spec = self._spec(videos[self._leading])
            if spec is not None and spec.published_rows:
                filled |= self._cutter.takes(spec.video_id, spec.published_rows)
            self._leading += 1
        return filled

    def listed(self) -> tuple[RowSpec, ...]:
        """The rows of the manifest's videos. One that is still pending keeps what it has."""
        specs = (self._spec(video) for video in self.manifest.videos)
        return tuple(spec for spec in specs if spec is not None)

    def awaited(self) -> Callable[[JobKey], bool]:
        """Whether a video that has not ended may be a job: nothing is known of one not surveyed yet."""
        owed = {
            video.video_id
            for video in self.manifest.videos
            if video.skip is None and self._is_pending(video.video_id)
        } & self.chosen
        keys = {self.asked.get(video_id) for video_id in owed}
        unknown = not owed <= self.asked.keys()
        return lambda key: unknown or key in keys

    def _is_pending(self, video_id: VideoId) -> bool:
        _, outcome = self.ended.get(video_id, (None, None))
        return outcome is None or outcome.outcome is Outcome.PENDING

    def _spec(self, video: Video) -> RowSpec | None:
        found, _ = self.ended.get(video.video_id, (None, None))
        if self._is_pending(video.video_id):
            return self._earlier(video)
        if found is None or found.job is None:
            return None
        entry = self.entries.get(found.job.job_key)
        if entry is None or entry.state not in {State.STAGED, State.COMMITTED}:
            return self._left_of(video, found.job.job_key, entry)
        return row_spec(found, entry)

    def _left_of(self, video: Video, key: JobKey, entry: Entry | None) -> RowSpec | None:
        """The rows that the record has of a video whose own could not be had.

        Those of another job go, unless this one failed by what says nothing about the video, such
        as a broken answer. Where they are missing, no record is made that forgets them.
        """
        before = self._earlier(video)
        stay = entry is not None and is_of_no_video(entry)
        return before if before is not None and (stay or before.job_key == key) else None

    def _earlier(self, video: Video) -> RowSpec | None:
        """The rows that the last record has of a video, under what the manifest says of it now."""
        before = self.before.get(video.video_id)
        return None if before is None else replace(before, metadata=video.metadata)

    def kept(self) -> tuple[RowSpec, ...]:
        """Rows that nobody asks for now, and nobody asked to be rid of.

        Their video is no longer in the manifest, or is skipped, and `on_removed` keeps them; or its
        file can't be read any more: an unmounted disk must not drop what was paid for.
        """
        named = {video.video_id for video in self.manifest.videos}
        gone = [spec for video_id, spec in self.before.items() if video_id not in named]
        idle = [self._earlier(video) for video in self.manifest.videos if self._idle(video)]
        keeps = self.manifest.on_removed == "keep"
        return (*(gone if keeps else ()), *(spec for spec in idle if spec is not None))

    def _idle(self, video: Video) -> bool:
        if video.skip is not None:
            return self.manifest.on_removed == "keep"
        found, _ = self.ended.get(video.video_id, (None, None))
        return found is not None and found.unread

    def outcomes(self, pending: Callable[[Video], VideoOutcome]) -> tuple[VideoOutcome, ...]:
        """Every video of the manifest; `pending` speaks for those that did not end.

        The jobs of those that did are as they are now: a publish moves them after their end.
        """
        return tuple(
            self._as_now(self.ended[video.video_id][1])
            if video.video_id in self.ended
            else pending(video)
            for video in self.manifest.videos
        )

    def _as_now(self, outcome: VideoOutcome) -> VideoOutcome:
        key = outcome.job_key
        return replace(outcome, entry=None if key is None else self.entries.get(key))

    def staged_jobs(self, specs: Sequence[RowSpec]) -> tuple[Entry, ...]:
        """The entries of these rows that no record names yet."""
        keys = {spec.job_key for spec in specs}
        return tuple(
            entry
            for key, entry in self.entries.items()
            if key in keys and entry.state is State.STAGED
        )
