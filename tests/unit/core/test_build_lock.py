"""What goes into a lock: everything that changes a build from nothing, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from batchembed.core.build_lock import ended_video, locked_video, manifest_digest
from batchembed.core.keys import url_content
from batchembed.core.model import Content, EngineSpec, JobKey, Manifest, UrlSource
from batchembed.core.outcome import Outcome
from batchembed.core.problems import Reason
from batchembed.manifest.resolve import read_manifest
from tests.unit.report.reports import a_video

TEXT = """\
version: 1
engine: local
defaults: {video_clip_length: 6}
videos:
  - {video_file: a.mp4, metadata: {n: 1}}
  - {video_file: b.mp4, embedding_option: [visual-text]}
output: {path: out}
"""


def digest_of(folder: Path, text: str) -> str:
    (folder / "m.yaml").write_text(text, encoding="utf-8")
    return manifest_digest(read_manifest(folder / "m.yaml").manifest)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version", "# a remark\nversion"),
        ("version: 1", "version: 1\nname: another"),
        ("path: out", "path: elsewhere, publish_every_s: 5"),
        ("defaults", "concurrency: {tasks: 2}\non_rejected: accept\non_removed: drop\ndefaults"),
        ("defaults: {video_clip_length: 6}\n", ""),
        ("video_clip_length: 6", "video_clip_length: 6.0"),
    ],
)
def test_what_does_not_change_the_rows_does_not_change_the_digest(
    tmp_path: Path, old: str, new: str
) -> None:
    assert old in TEXT
    assert digest_of(tmp_path, TEXT.replace(old, new)) == digest_of(tmp_path, TEXT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("video_clip_length: 6", "video_clip_length: 5"),
        ("{n: 1}", "{n: 1.0}"),
        ("{n: 1}", "{n: 2}"),
        ("a.mp4", "c.mp4"),
        ("a.mp4", "a.mp4, id: c"),
        ("a.mp4", "a.mp4, skip: dull"),
        ("[visual-text]", "[audio]"),
        ("path: out", "path: out, partition_by: [model_name]"),
        ("defaults", "on_limit_violation: submit\ndefaults"),
    ],
)
def test_what_changes_the_rows_changes_the_digest(tmp_path: Path, old: str, new: str) -> None:
    assert old in TEXT
    assert digest_of(tmp_path, TEXT.replace(old, new)) != digest_of(tmp_path, TEXT)


def with_url(url: str) -> Callable[[Manifest], Manifest]:
    def change(manifest: Manifest) -> Manifest:
        first = replace(manifest.videos[0], source=UrlSource(url=url))
        return replace(manifest, videos=(first, *manifest.videos[1:]))

    return change


def test_a_signature_is_neither_in_the_digest_nor_in_the_lock(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(TEXT, encoding="utf-8")
    manifest = read_manifest(tmp_path / "m.yaml").manifest
    signed, again, another = (
        with_url(f"https://u:p@example.com/a.mp4?{query}")(manifest)
        for query in ("v=1&X-Amz-Signature=s1", "v=1&X-Amz-Signature=s2", "v=2")
    )

    assert manifest_digest(signed) == manifest_digest(again) != manifest_digest(another)
    source = signed.videos[0].source
    assert isinstance(source, UrlSource)
    video = locked_video(signed.videos[0], content=url_content(source.url))
    assert video.source == "https://example.com/a.mp4"
    assert video.source_sha256 is None
    assert video.weak_identity == f"url:{url_content(source.url).digest}"


def test_engine_and_base_url_are_in_the_digest(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(TEXT, encoding="utf-8")
    manifest = read_manifest(tmp_path / "m.yaml").manifest
    one, other = (
        replace(manifest, engine=EngineSpec(kind=kind, base_url=url, api_key_env="KEY"))
        for kind, url in ((manifest.engine.kind, "https://a"), (manifest.engine.kind, "https://b"))
    )
    renamed = replace(one, engine=replace(one.engine, api_key_env="OTHER"))
    assert manifest_digest(one) != manifest_digest(other)
    assert manifest_digest(one) == manifest_digest(renamed)


@pytest.mark.parametrize(
    ("outcome", "kept", "code"),
    [
        (Outcome.COMMITTED, Outcome.COMMITTED, None),
        (Outcome.REJECTED, Outcome.REJECTED, "odd"),
        (Outcome.FAILED, Outcome.FAILED, "odd"),
        (Outcome.SKIPPED, Outcome.SKIPPED, None),
        (Outcome.PENDING, None, None),
    ],
)
def test_an_end_is_locked_with_its_code_and_never_its_words(
    outcome: Outcome, kept: Outcome | None, code: str | None
) -> None:
    ended = replace(
        a_video("a", outcome, Reason(code="odd", message="of /secret/path")),
        content=Content(kind="sha256", digest="1" * 64),
        job_key=JobKey("k"),
        rows=3,
    )

    video = ended_video(ended)

    assert (video.outcome, video.code, video.rows) == (kept, code, 3)
    assert (video.source_sha256, video.weak_identity) == ("1" * 64, None)
    assert "/secret" not in str(video)
