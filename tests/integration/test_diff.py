"""What is told of two datasets that differ: exactly what was changed between them."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchembed.core.keys import cuts_group
from batchembed.core.model import VideoId
from batchembed.core.problems import Scalar
from batchembed.dataset.diff import DatasetDiff, diff
from batchembed.dataset.folder import Folder
from batchembed.dataset.matching import Change
from batchembed.dataset.publish import Dataset
from batchembed.errors import DatasetError, InputMissingError
from tests.support.dataset import IDENTITY
from tests.support.films import CLIP, Film, make_dataset, sha256

AUDIO = ("audio", "clip")


def clips(
    seed: int, count: int = 3, *, away: float = 0.0
) -> dict[tuple[float, float], list[float]]:
    """Clips of 2 s; every vector `away` from where it would be else."""
    found = np.random.default_rng(seed).standard_normal((count, 3))
    found[:, 0] += away
    return {(2.0 * n, 2.0 * n + 2.0): vector.tolist() for n, vector in enumerate(found)}


def film(name: str, **other: object) -> Film:
    plain = Film(video_id=name, rows={CLIP: clips(len(name))}, content=name)
    return replace(plain, **other)  # type: ignore[arg-type]  # fields of it


def told(found: DatasetDiff) -> dict[str, object]:
    """All that differs, by its names."""
    return {
        "dataset": {change.what for change in found.changes},
        "removed": [spec.video_id for spec in found.removed],
        "added": [spec.video_id for spec in found.added],
        "renamed": {v.a.video_id: v.b.video_id for v in found.videos if v.is_renamed},
        "changed": {v.b.video_id: {c.what for c in v.changes} for v in found.videos if v.changes},
        "segments": {
            v.b.video_id: {k.kind: (k.only_a, k.only_b) for k in v.kinds if k.only_a or k.only_b}
            for v in found.videos
            if any(k.only_a or k.only_b for k in v.kinds)
        },
        "drifted": {v.b.video_id for v in found.drifted},
    }


NOTHING: Mapping[str, object] = {
    "dataset": set(),
    "removed": [],
    "added": [],
    "renamed": {},
    "changed": {},
    "segments": {},
    "drifted": set(),
}


def between(
    folder: Path, a: Sequence[Film], b: Sequence[Film], *, tolerance: float | None = None
) -> DatasetDiff:
    return diff(make_dataset(folder / "a", a), make_dataset(folder / "b", b), tolerance=tolerance)


def test_a_dataset_does_not_differ_from_itself_nor_from_a_build_of_the_same(tmp_path: Path) -> None:
    films = [film("x"), film("y")]

    found = between(tmp_path, films, films)

    assert told(found) == NOTHING
    assert found.is_empty
    assert (found.same, found.drift.compared, found.drift.identical) == (2, 6, 6)
    assert diff(found.a.storage, found.a.storage).is_empty


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        pytest.param({"metadata": {"place": "p"}}, {"metadata.place"}, id="metadata"),
        pytest.param({"duration_sec": None}, {"duration_sec"}, id="facts"),
        pytest.param({"source": "moved.mp4"}, {"source"}, id="source"),
        pytest.param({"content": "cut"}, {"source_sha256"}, id="content"),
        pytest.param(
            {"parameters": "of 4 s"}, {"parameters, by job_key"}, id="parameters, same rows"
        ),
    ],
)
def test_what_stands_beside_the_vectors_is_told(
    edit: dict[str, object], expected: set[str], tmp_path: Path
) -> None:
    before = [film("x"), film("other", metadata={"place": "q"})]
    after = [film("x", **edit), before[1]]

    found = between(tmp_path, before, after)

    assert told(found) == {**NOTHING, "changed": {"x": expected}}
    assert not found.is_empty


def test_true_is_not_one_and_one_is_one_point_nought(tmp_path: Path) -> None:
    def with_(value: Scalar) -> list[Film]:
        return [film("x", metadata={"n": value}), film("y", metadata={"n": value})]

    make_dataset(tmp_path / "bool", with_(True))
    make_dataset(tmp_path / "int", with_(1))
    make_dataset(tmp_path / "double", with_(1.0))
    places = {name: Folder(tmp_path / name) for name in ("bool", "int", "double")}

    assert told(diff(places["int"], places["double"])) == {**NOTHING, "dataset": {"column.n"}}
    assert told(diff(places["bool"], places["int"])) == {
        **NOTHING,
        "dataset": {"column.n"},
        "changed": {"x": {"metadata.n"}, "y": {"metadata.n"}},
    }


def test_options_that_are_no_longer_published_are_told_and_their_rows_not_read(
    tmp_path: Path,
) -> None:
    both = film("x", rows={AUDIO: clips(1), CLIP: clips(2)})

    found = between(tmp_path, [both], [replace(both, options=("audio",))])

    assert told(found) == {**NOTHING, "changed": {"x": {"embedding_option"}}}
    assert found.videos[0].changes == (
        Change(what="embedding_option", a="audio, visual-text", b="audio"),
    )
    assert (found.drift.compared, found.drift.identical) == (3, 3)


def test_segments_that_only_one_has_are_counted_and_the_others_compared(tmp_path: Path) -> None:
    longer = {**clips(1), (6.0, 8.0): [1.0, 0.0, 0.0]}
    moved = {(1.0, 2.0) if times == (0.0, 2.0) else times: v for times, v in clips(2).items()}

    found = between(
        tmp_path,
        [film("x", rows={AUDIO: clips(1), CLIP: clips(2)})],
        [film("x", rows={AUDIO: longer, CLIP: moved})],
    )

    assert told(found) == {
        **NOTHING,
        "changed": {"x": {"rows of audio"}},
        "segments": {"x": {AUDIO: (0, 1), CLIP: (1, 1)}},
    }
    assert (found.drift.compared, found.drift.identical) == (5, 5)


def test_drift_is_measured_by_video_and_over_all_the_greatest_first(tmp_path: Path) -> None:
    names = ["least", "most", "none"]
    before = [film(name) for name in names]
    after = [
        film("least", rows={CLIP: clips(5, away=0.01)}),
        film("most", rows={CLIP: clips(4, away=1.0)}),
        film("none"),
    ]

    found = between(tmp_path, before, after)

    assert [video.b.video_id for video in found.drifted] == ["most", "least"]
    assert told(found) == {**NOTHING, "drifted": {"least", "most"}}
    assert (found.drift.compared, found.drift.identical, found.same) == (9, 3, 1)
    of_all = np.sort([d for v in found.videos for k in v.kinds for d in k.distances])
    assert found.drift.mean == pytest.approx(of_all.sum() / 9)
    assert found.drift.highest == of_all[-1] == found.drifted[0].highest
    assert found.drift.quantiles == ((0.5, of_all[1]), (0.9, of_all[5]), (0.99, of_all[5]))


def test_drift_up_to_the_tolerance_is_no_difference(tmp_path: Path) -> None:
    before, after = [film("x")], [film("x", rows={CLIP: clips(1, away=0.01)})]

    strict = between(tmp_path, before, after)
    highest = strict.drift.highest

    assert not strict.is_empty
    assert diff(strict.a.storage, strict.b.storage, tolerance=highest).is_empty
    assert diff(strict.a.storage, strict.b.storage, tolerance=highest).same == 1
    assert not diff(strict.a.storage, strict.b.storage, tolerance=highest * 0.99).is_empty


def test_a_video_under_another_id_is_renamed_and_compared_all_the_same(tmp_path: Path) -> None:
    before = [film("job", content="1"), film("content", content="2"), film("gone", content="3")]
    after = [
        film("new", content="4"),
        film("content-2", content="2", parameters="of 4 s", rows={CLIP: clips(7, away=1.0)}),
        film("job-2", content="1", rows=before[0].rows),
    ]

    found = between(tmp_path, before, after)

    assert told(found) == {
        "dataset": {"order"},
        "removed": ["gone"],
        "added": ["new"],
        "renamed": {"job": "job-2", "content": "content-2"},
        "changed": {"content-2": {"parameters, by job_key"}},
        "segments": {},
        "drifted": {"content-2"},
    }


def test_another_order_is_told_once(tmp_path: Path) -> None:
    films = [film("x"), film("xx"), film("xxx")]

    found = between(tmp_path, films, films[::-1])

    assert found.changes == (Change(what="order", a="x first", b="xxx first"),)
    assert told(found) == {**NOTHING, "dataset": {"order"}}


def test_two_models_are_not_compared_by_their_vectors(tmp_path: Path) -> None:
    a = make_dataset(tmp_path / "a", [film("x"), film("cut", rows={CLIP: clips(1, 3)})])
    wide = {times: [*vector, 1.0] for times, vector in clips(1).items()}
    short = {times: [*vector, 1.0] for times, vector in clips(1, 2).items()}
    films = [film("x", rows={CLIP: wide}), film("cut", rows={CLIP: short})]
    b = make_dataset(tmp_path / "b", films, model_name="marengo3.0")

    found = diff(a, b)

    assert found.incomparable == "they are of two models, local-v1 and marengo3.0"
    assert told(found) == {
        **NOTHING,
        "dataset": {"model_name", "dimension"},
        "changed": {"cut": {"rows of visual-text"}},
        "segments": {"cut": {CLIP: (1, 0)}},
    }
    assert found.drift.compared == 0


def test_another_engine_alone_is_no_difference_and_is_told(tmp_path: Path) -> None:
    a = make_dataset(tmp_path / "a", [film("x")], engine={"pyav": "17"})
    b = make_dataset(tmp_path / "b", [film("x")], engine={"pyav": "18"})

    found = diff(a, b)

    assert found.engine == (Change(what="pyav", a="17", b="18"),)
    assert found.is_empty


@pytest.mark.parametrize("partition_by", [(), ("place",), ("embedding_scope", "model_name")])
def test_any_partitions_are_compared_with_any(
    partition_by: tuple[str, ...], tmp_path: Path
) -> None:
    kinds = {AUDIO: clips(1), CLIP: clips(2), ("audio", "video"): {(0.0, 6.0): [1.0, 1.0, 1.0]}}
    films = [film("x", rows=kinds, metadata={"place": "p"}), film("y", metadata={"place": "q"})]
    moved = [replace(films[0], rows={**kinds, CLIP: clips(2, away=0.1)}), films[1]]
    a = make_dataset(tmp_path / "a", films)
    b = make_dataset(tmp_path / "b", moved, partition_by=partition_by)

    assert told(diff(a, b)) == {**NOTHING, "dataset": {"partition_by"}, "drifted": {"x"}}
    assert diff(a, b).drift.identical == 7


class Counting(Folder):
    """Counts how often each part is opened."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opened: list[str] = []

    def open(self, key: str) -> pa.NativeFile:
        self.opened.append(key)
        return super().open(key)


CUTTING = [name for name in (f"v{n}" for n in range(3_000)) if cuts_group(VideoId(name))]


def of_three_groups(away: float) -> list[Film]:
    """Each group ends at a video that asks for it; between them are short ones."""
    sizes = {CUTTING[0]: 17_000, "s1": 3, "s2": 4, CUTTING[1]: 16_500, "s3": 5, "s4": 6}
    return [
        film(name, rows={CLIP: clips(number, rows, away=away)})
        for number, (name, rows) in enumerate(sizes.items())
    ]


@pytest.mark.slow
def test_in_one_order_each_part_is_read_once_and_in_any_order_each_row_is_compared(
    tmp_path: Path,
) -> None:
    before, after = of_three_groups(0.0), of_three_groups(0.1)
    make_dataset(tmp_path / "a", before)
    make_dataset(tmp_path / "b", after)
    make_dataset(tmp_path / "c", [after[n] for n in (4, 3, 2, 0, 5, 1)])
    a, b, c = (Counting(tmp_path / name) for name in "abc")

    straight = diff(a, b)

    assert len(straight.a.groups) == 3
    assert len(a.opened) == len(set(a.opened)) == 3
    assert len(b.opened) == len(set(b.opened)) == 3
    crossed = diff(a, c)
    assert {change.what for change in crossed.changes} == {"order"}
    assert len(c.opened) <= len(straight.a.groups) * len(crossed.b.groups)
    assert crossed.drift == straight.drift
    assert crossed.drift.compared == sum(len(film.rows[CLIP]) for film in before)


def test_what_has_the_same_rows_is_not_read(tmp_path: Path) -> None:
    films = [film("x"), film("y"), film("moved", metadata={"place": "p"})]
    make_dataset(tmp_path / "a", films)
    make_dataset(tmp_path / "b", [*films[:2], replace(films[2], metadata={"place": "q"})])
    a, b = Counting(tmp_path / "a"), Counting(tmp_path / "b")

    assert told(diff(a, b)) == {**NOTHING, "changed": {"moved": {"metadata.place"}}}
    assert a.opened + b.opened == []


def test_a_part_that_is_gone_is_told(tmp_path: Path) -> None:
    found = between(tmp_path, [film("x")], [film("x", rows={CLIP: clips(9)})])
    part = tmp_path / "b" / found.b.record.parts[0].path
    part.unlink()

    with pytest.raises(DatasetError, match=f"{part.name} can't be read"):
        diff(found.a.storage, found.b.storage)


class Republished(Folder):
    """Is published anew when a part of it is asked for."""

    def open(self, key: str) -> pa.NativeFile:
        make_dataset(self.root, [film("x", rows={CLIP: clips(10)})])
        return super().open(key)


def test_a_publish_meanwhile_is_told_as_one(tmp_path: Path) -> None:
    a = make_dataset(tmp_path / "a", [film("x")])
    make_dataset(tmp_path / "b", [film("x", rows={CLIP: clips(9)})])

    with pytest.raises(DatasetError, match="was published anew while it was read"):
        diff(a, Republished(tmp_path / "b"))


def test_what_is_no_dataset_is_told(tmp_path: Path) -> None:
    a = make_dataset(tmp_path / "a", [film("x")])
    (tmp_path / "file").touch()

    for other, told in (("nothing", "there is no dataset at"), ("file", "is no dataset of")):
        with pytest.raises(InputMissingError, match=told):
            diff(a, Folder(tmp_path / other))
    Dataset.open_or_create(Folder(tmp_path / "new"), identity=IDENTITY, new_id=lambda: "d" * 32)
    with pytest.raises(InputMissingError, match="has no record yet: run its manifest first"):
        diff(a, Folder(tmp_path / "new"))


# --- random edits -------------------------------------------------------------------------

_EDITS = ["keep", "remove", "rename", "retag", "cut", "drift", "shorten", "narrow"]


def _edited(before: Film, edit: str, n: int) -> Film | None:
    match edit:
        case "remove":
            return None
        case "rename":
            return replace(before, video_id=f"renamed-{n}")
        case "retag":
            return replace(before, metadata={"place": "elsewhere"})
        case "cut":
            return replace(before, content=f"cut {n}")
        case "drift":
            return replace(before, rows={**before.rows, CLIP: clips(n, away=0.5)})
        case "shorten":
            return replace(before, rows={**before.rows, CLIP: clips(n, 2)})
        case "narrow":
            return replace(before, options=("audio",))
        case _:
            return before


def _expected(films: Sequence[Film], edits: Sequence[str], added: int) -> dict[str, object]:
    names = {edit: _names(films, edits, edit) for edit in _EDITS}
    changed = {
        "retag": {"metadata.place"},
        "cut": {"source_sha256"},
        "shorten": {"rows of visual-text"},
        "narrow": {"embedding_option"},
    }
    return {
        "dataset": set(),
        "removed": names["remove"],
        "added": [f"added-{n}" for n in range(added)],
        "renamed": {name: name.replace("film", "renamed") for name in names["rename"]},
        "changed": {name: what for edit, what in changed.items() for name in names[edit]},
        "segments": {name: {CLIP: (1, 0)} for name in names["shorten"]},
        "drifted": set(names["drift"]),
    }


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    edits=st.lists(st.sampled_from(_EDITS), min_size=1, max_size=8),
    added=st.integers(1, 2),
    partition_by=st.sampled_from([(), ("embedding_option",), ("place",)]),
)
def test_random_edits_are_found_exactly_and_from_either_side(
    edits: list[str], added: int, partition_by: tuple[str, ...]
) -> None:
    films = [
        Film(
            video_id=f"film-{n}",
            rows={AUDIO: clips(n + 100), CLIP: clips(n)},
            content=sha256(f"{n}"),
            metadata={"place": "here"},
        )
        for n in range(len(edits))
    ]
    after = [
        _edited(film, edit, n) for n, (film, edit) in enumerate(zip(films, edits, strict=True))
    ]
    new = [
        Film(
            video_id=f"added-{n}",
            rows={CLIP: clips(n)},
            content=f"new {n}",
            metadata={"place": "here"},
        )
        for n in range(added)
    ]
    with tempfile.TemporaryDirectory() as name:
        a = make_dataset(Path(name, "a"), films, partition_by=partition_by)
        later = [*(film for film in after if film is not None), *new]
        b = make_dataset(Path(name, "b"), later, partition_by=partition_by)
        there, back, itself = diff(a, b), diff(b, a), diff(b, b)

    assert told(there) == _expected(films, edits, added)
    assert itself.is_empty
    assert there.same == edits.count("keep")
    assert back.drift == there.drift
    mirrored = told(back)
    assert mirrored["removed"] == told(there)["added"]
    assert mirrored["added"] == told(there)["removed"]
    assert mirrored["renamed"] == {
        name.replace("film", "renamed"): name for name in _names(films, edits, "rename")
    }
    assert mirrored["drifted"] == told(there)["drifted"]
    assert mirrored["segments"] == {k: {CLIP: (0, 1)} for k in _names(films, edits, "shorten")}
    assert [video.changes for video in back.videos] == [
        tuple(Change(what=c.what, a=c.b, b=c.a) for c in video.changes) for video in there.videos
    ]


def _names(films: Sequence[Film], edits: Sequence[str], edit: str) -> list[str]:
    return [film.video_id for film, each in zip(films, edits, strict=True) if each == edit]
