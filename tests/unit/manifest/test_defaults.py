"""Defaults: they live in the schemas alone, and what is written goes before them."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchembed.core.model import Budget, EngineKind, Manifest, Quota
from batchembed.core.problems import ManifestError
from batchembed.manifest.resolve import read_manifest
from batchembed.manifest.schema import default_of, model_defaults

SMALLEST = "version: 1\nengine: {engine}\nvideos:\n  - video_file: v/a.mp4\noutput: {{path: out}}\n"


def resolve(folder: Path, text: str, *overrides: str, rehearse: bool = False) -> Manifest:
    path = folder / "m.yaml"
    path.write_text(text, encoding="utf-8")
    return read_manifest(path, overrides=overrides, rehearse=rehearse, cores=3).manifest


@pytest.mark.parametrize("engine", list(EngineKind))
def test_the_smallest_manifest_has_the_defaults_of_the_schema(
    tmp_path: Path, engine: EngineKind
) -> None:
    manifest = resolve(tmp_path, SMALLEST.format(engine=engine))
    for section in (manifest.concurrency, manifest.polling, manifest.quota, manifest.budget):
        name = type(section).__name__.lower()
        for key in section.__slots__:
            expected = default_of(name, key, engine=engine)
            assert getattr(section, key) == (3 if key == "workers" else expected)
    for key in (
        "on_limit_violation",
        "on_rejected",
        "on_removed",
        "on_lost",
        "on_unknown_submission",
        "max_runtime_s",
        "model_name",
    ):
        assert getattr(manifest, key) == default_of(key, engine=engine)
    assert manifest.settle_s == default_of("reconcile", "settle_s", engine=engine)
    assert list(manifest.output.partition_by) == default_of("output", "partition_by", engine=engine)
    assert manifest.output.publish_every_s == default_of("output", "publish_every_s", engine=engine)
    hosted = engine is EngineKind.TWELVELABS
    assert manifest.engine.base_url == ("https://api.twelvelabs.io/v1.3" if hosted else None)
    assert manifest.engine.api_key_env == ("TWELVELABS_API_KEY" if hosted else None)
    parameters = manifest.videos[0].parameters
    of_model = model_defaults(manifest.model_name)
    assert parameters.video_clip_length == of_model["video_clip_length"] == 6
    assert list(parameters.video_embedding_scope) == of_model["video_embedding_scope"] == ["clip"]
    assert manifest.name == "m"
    assert manifest.output.path == str(tmp_path / "out")
    assert manifest.videos[0].video_id == "v/a.mp4"


def test_an_entry_goes_before_defaults_and_an_override_before_both(tmp_path: Path) -> None:
    text = (
        SMALLEST.format(engine="local")
        + "defaults: {video_clip_length: 3, metadata: {a: 1, b: 2}}\n"
    )
    assert resolve(tmp_path, text).videos[0].parameters.video_clip_length == 3
    video = resolve(tmp_path, text, "videos.0.video_clip_length=4", "videos.0.metadata.b=5").videos[
        0
    ]
    assert video.parameters.video_clip_length == 4
    assert video.metadata == {"a": 1, "b": 5}
    assert video.place_of("video_clip_length").file == "--set"


def test_a_zero_is_a_value_and_no_reason_for_a_default(tmp_path: Path) -> None:
    text = SMALLEST.format(engine="local") + (
        "defaults: {video_start_offset_sec: 5, video_end_offset_sec: 20}\n"
    )
    video = resolve(tmp_path, text, "videos.0.video_start_offset_sec=0").videos[0]
    assert video.parameters.video_start_offset_sec == 0


def test_a_rehearsal_keeps_the_limits_and_takes_the_local_model(tmp_path: Path) -> None:
    manifest = resolve(tmp_path, SMALLEST.format(engine="twelvelabs"), rehearse=True)
    assert manifest.engine.kind is EngineKind.LOCAL
    assert (manifest.model_name, manifest.profile) == ("local-v1", "Marengo-retrieval-2.7")
    assert manifest.videos[0].parameters.model_name == "local-v1"
    assert manifest.output.path == str(tmp_path / "out.rehearsal")


def test_a_rehearsal_of_a_dataset_on_a_store_has_a_place_beside_it(tmp_path: Path) -> None:
    text = SMALLEST.format(engine="twelvelabs")
    override = "output.path=S3://bucket/out/"
    assert resolve(tmp_path, text, override).output.path == "s3://bucket/out"
    rehearsal = resolve(tmp_path, text, override, rehearse=True)
    assert rehearsal.output.path == "s3://bucket/out.rehearsal"


def test_a_rehearsal_refuses_options_that_the_local_model_lacks(tmp_path: Path) -> None:
    text = SMALLEST.format(engine="twelvelabs") + "model_name: marengo3.0\n"
    with pytest.raises(ManifestError) as caught:
        resolve(tmp_path, text, "defaults.embedding_option=[transcription]", rehearse=True)
    assert [problem.code for problem in caught.value.problems] == ["embedding_option_invalid"]


def test_the_hosted_service_is_given_time_and_a_lost_task_is_not_paid_for_again(
    tmp_path: Path,
) -> None:
    hosted = resolve(tmp_path, SMALLEST.format(engine="twelvelabs"))
    local = resolve(tmp_path, SMALLEST.format(engine="local"))
    assert (hosted.settle_s, hosted.on_lost) == (300, "fail")
    assert (local.settle_s, local.on_lost) == (0, "resubmit")


def test_quota_and_budget_are_as_they_are_written(tmp_path: Path) -> None:
    text = SMALLEST.format(engine="twelvelabs") + (
        "quota: {requests_per_minute: 25, video_minutes_per_day: 0.5, max_inline_wait_s: 0}\n"
        "budget: {amount: 20, price_per_minute: 0.042, currency: EUR, per: dataset}\n"
        "max_runtime_s: 60\n"
    )

    manifest = resolve(tmp_path, text, "budget.video_minutes=0", "quota.video_minutes_per_hour=600")

    assert manifest.quota == Quota(
        requests_per_minute=25,
        video_minutes_per_hour=600,
        video_minutes_per_day=0.5,
        max_inline_wait_s=0,
    )
    assert manifest.budget == Budget(
        video_minutes=0, amount=20, price_per_minute=0.042, currency="EUR", per="dataset"
    )
    assert manifest.max_runtime_s == 60


def test_an_override_takes_a_limit_away(tmp_path: Path) -> None:
    text = SMALLEST.format(engine="twelvelabs") + "quota: {requests_per_minute: 25}\n"
    assert resolve(tmp_path, text, "quota.requests_per_minute=").quota.requests_per_minute is None
