"""Identity: what makes two jobs the same job. Never position, never a path alone."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

from batchembed.core.model import (
    Content,
    JobKey,
    ObjectIdentity,
    Parameters,
    VideoId,
    public_url,
)

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


#: Whole floats below this are written as integers; those above have no other short form.
_EXACT = 2**53


def canonical_json(value: Json) -> str:
    """JSON by RFC 8785: sorted keys, no spaces, and 6 written like 6.0.

    Raises:
        ValueError: a number that is not finite.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _plain(value: Json) -> Json:
    if isinstance(value, float):
        if not math.isfinite(value):
            msg = f"{value} has no place in JSON"
            raise ValueError(msg)
        return int(value) if value.is_integer() and abs(value) < _EXACT else value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def digest(value: Json) -> str:
    """sha256, in hex, of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


#: Query parameters that sign a URL for a while, and mean nothing else: of S3 and its like, Google,
#: CloudFront, Azure.
_SIGNATURE = re.compile(
    r"x-(amz|goog)-.*|awsaccesskeyid|googleaccessid|signature|sig", re.IGNORECASE
)
#: Those that belong to a signature where it stands beside them, and alone may mean anything.
_BESIDE = {
    "signature": frozenset({"expires", "policy", "key-pair-id"}),
    "sig": frozenset(
        {"se", "sp", "sr", "st", "sv", "spr", "sip", "ss", "srt"}
        | {"ske", "skoid", "sks", "skt", "sktid", "skv"}
    ),
}


def unsigned_url(url: str) -> str:
    """The URL without user, fragment and signature; what else its query says stays."""
    query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    names = {name.lower() for name, _ in query}
    signing = frozenset[str]().union(*(_BESIDE[name] for name in names & _BESIDE.keys()))
    kept = [
        (name, value)
        for name, value in query
        if not _SIGNATURE.fullmatch(name) and name.lower() not in signing
    ]
    return public_url(url) + (f"?{urlencode(kept)}" if kept else "")


def url_content(url: str) -> Content:
    """Identity of a URL's video: weak, since what is behind it may change."""
    sha256 = hashlib.sha256(unsigned_url(url).encode()).hexdigest()
    return Content(kind="url", digest=sha256, weak=True)


def object_content(identity: ObjectIdentity) -> Content:
    """Identity of an object: weak, since only its store vouches for it."""
    told: Json = {"uri": identity.path, "tag": identity.tag, "size_bytes": identity.size_bytes}
    return Content(kind="object", digest=digest(told), weak=True)


def job_key(content: Content, parameters: Parameters) -> JobKey:
    """The job's name. Options are not in it: all are retrieved, and filtered when published."""
    return JobKey(
        digest(
            {
                "content": {"kind": content.kind, "digest": content.digest},
                "model_name": parameters.model_name,
                "video_clip_length": parameters.video_clip_length,
                "video_embedding_scope": list(parameters.video_embedding_scope),
                "video_start_offset_sec": parameters.video_start_offset_sec,
                "video_end_offset_sec": parameters.video_end_offset_sec,
            }
        )
    )


def upload_name(dataset_id: str, key: JobKey, attempt: int, suffix: str) -> str:
    """The file name of an upload: a marker that the service's listing echoes, in plain ASCII."""
    return f"{upload_stem(dataset_id, key)}-{attempt}{suffix}"


def upload_stem(dataset_id: str, key: JobKey) -> str:
    """What the markers of all attempts at a job begin with."""
    return f"bb1-{dataset_id[:8]}-{key[:16]}"


_UPLOAD_NAME = re.compile(
    r"(bb1-[0-9a-z]{1,8}-[0-9a-z]{1,16})-([1-9][0-9]{0,8})(?:\..*)?", re.DOTALL
)


def read_upload_name(name: str) -> tuple[str, int] | None:
    """The marker in a file's name, without its attempt, and the attempt; None where there is none."""
    match = _UPLOAD_NAME.fullmatch(name.lower())
    return None if match is None else (match[1], int(match[2]))


def idempotency_key(dataset_id: str, key: JobKey, attempt: int) -> str:
    """The same for every request of one attempt; a new attempt follows a known failure or loss."""
    return digest({"dataset_id": dataset_id, "job_key": key, "attempt": attempt})


def cuts_group(video_id: VideoId) -> bool:
    """Whether a group may end after this video: one id in 256, whatever stands around it."""
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:4], "big") % 256 == 0
