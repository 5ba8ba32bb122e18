"""Why a file can't be used as a video: the one error of this package, and its reasons."""

from __future__ import annotations

from batchembed.core.problems import Reason

#: The service's own code for a file that it can't read.
BROKEN = "video_file_broken"
MISSING = "video_file_missing"
#: The file is there, and can't be opened or read for another reason than its content.
UNREADABLE = "video_file_unreadable"
#: Its store does not let these credentials read it: that says nothing against the video.
DENIED = "video_file_denied"


class UnreadableVideoError(Exception):
    """A file can't be read as a video, as `reason` says. It fails that video, never a run."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason.message)


def broken(what: str) -> UnreadableVideoError:
    """The content is no video that can be decoded."""
    return UnreadableVideoError(
        Reason(
            code=BROKEN,
            message=f"the video file can't be read: {what}",
            hint="check that it plays; if it does, remux it (ffmpeg -i IN -c copy OUT.mp4)",
        )
    )


def missing(what: str) -> UnreadableVideoError:
    """No file is there."""
    return UnreadableVideoError(
        Reason(
            code=MISSING,
            message=f"the video file is missing: {what}",
            field="video_file",
            hint="correct the path (relative paths start at the manifest), or mount the disk",
        )
    )


def no_access(what: str, hint: str) -> UnreadableVideoError:
    """Something is there, and it can't be opened or read."""
    return UnreadableVideoError(
        Reason(
            code=UNREADABLE,
            message=f"the video file can't be opened: {what}",
            field="video_file",
            hint=hint,
        )
    )


def denied(what: str) -> UnreadableVideoError:
    """Something may be there, and the credentials do not reach it."""
    return UnreadableVideoError(
        Reason(
            code=DENIED,
            message=f"the video file can't be opened: {what}",
            field="video_file",
            hint="see that the object is there, and what its bucket allows; then run again",
        )
    )
