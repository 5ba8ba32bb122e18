"""Globs, tables and the shipped configs, on real files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchembed.core.problems import ManifestError
from batchembed.manifest.globs import excluded, matches
from batchembed.manifest.load import load
from batchembed.manifest.render import problem_lines
from batchembed.manifest.resolve import Resolved, read_manifest
from batchembed.manifest.schema import editor_validator

CONFIGS = Path(__file__).parents[2] / "configs"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(folder: Path, pattern: str, *exclude: str) -> list[str]:
    errors: list[OSError] = []
    names = matches(str(folder), pattern, errors.append)
    assert not errors
    return [name for name in names if not excluded(name, exclude)]


def resolve(folder: Path, entry: str) -> Resolved:
    path = folder / "m.yaml"
    path.write_text(
        f"version: 1\nengine: local\nvideos:\n  - {entry}\noutput: {{path: out}}\n",
        encoding="utf-8",
    )
    return read_manifest(path)


def test_stars_stay_within_a_folder_and_two_stars_do_not(tmp_path: Path) -> None:
    touch(tmp_path, "v/a.mp4", "v/x/b.mp4", "v/x/y/c.mp4", "v/.h.mp4", "v/.d/e.mp4")
    assert found(tmp_path, "v/*.mp4") == ["v/a.mp4"]
    assert found(tmp_path, "v/*/*.mp4") == ["v/x/b.mp4"]
    assert found(tmp_path, "v/**/*.mp4") == ["v/a.mp4", "v/x/b.mp4", "v/x/y/c.mp4"]
    assert found(tmp_path, "v/**") == ["v/a.mp4", "v/x/b.mp4", "v/x/y/c.mp4"]
    assert found(tmp_path, "v/.d/*.mp4") == ["v/.d/e.mp4"]
    assert found(tmp_path, "v/**/*.mp4", "b.*", "v/x/y/*") == ["v/a.mp4"]


def test_names_are_sorted_by_their_bytes(tmp_path: Path) -> None:
    touch(tmp_path, "é.mp4", "b.mp4", "B.mp4", "a/c.mp4")
    assert found(tmp_path, "**/*.mp4") == ["B.mp4", "a/c.mp4", "b.mp4", "é.mp4"]


def test_a_folder_linked_to_itself_is_entered_once(tmp_path: Path) -> None:
    touch(tmp_path, "v/a.mp4")
    (tmp_path / "v" / "loop").symlink_to(tmp_path / "v")
    assert found(tmp_path, "v/**/*.mp4") == ["v/a.mp4"]


def test_a_parquet_table_gives_videos_with_metadata_and_a_note(tmp_path: Path) -> None:
    table = pa.table(
        {
            "path": ["a.mp4", "b.mp4"],
            "id": [1, 2],
            "video_embedding_scope": [["clip"], None],
            "take": [1, None],
            "other": [0, 0],
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    resolved = resolve(
        tmp_path, "{table: t.parquet, columns: {video_file: path}, metadata_columns: [take]}"
    )
    assert [video.video_id for video in resolved.manifest.videos] == ["1", "2"]
    assert [dict(video.metadata) for video in resolved.manifest.videos] == [{"take": 1}, {}]
    assert resolved.notes == ("t.parquet: not used: other",)


def test_a_csv_column_has_one_type(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("video_file,code,gain\na.mp4,12,1\nb.mp4,0x,0.5\n", "utf-8")
    resolved = resolve(tmp_path, "{table: t.csv, metadata_columns: [code, gain]}")
    assert [dict(video.metadata) for video in resolved.manifest.videos] == [
        {"code": "12", "gain": 1.0},
        {"code": "0x", "gain": 0.5},
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.parquet", b"PAR1 no"), ("t.csv", b"video_file\n\xff\n"), ("t.jsonl", b"[1]\n{\n")],
)
def test_a_broken_table_is_a_problem_and_no_crash(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError) as caught:
        resolve(tmp_path, f"table: {name}")
    assert {problem.code for problem in caught.value.problems} <= {"table_unreadable", "table_row"}


@pytest.mark.parametrize(
    "config",
    sorted(set(CONFIGS.glob("*.yaml")) - {CONFIGS / "faults.yaml"}),
    ids=lambda path: path.stem,
)
def test_a_shipped_config_resolves_beside_its_videos(tmp_path: Path, config: Path) -> None:
    for path in (config, CONFIGS / "every-key.csv"):
        shutil.copy(path, tmp_path)
    names = ("bigbuckbunny.mp4", "bikes.mp4", "carphone_pristine.mp4")
    touch(tmp_path, *(f"videos/{name}" for name in names))
    assert read_manifest(tmp_path / config.name).manifest.videos
    assert not list(editor_validator().iter_errors(load(config).value))
    first = config.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=../schemas/manifest.schema.json"


def test_a_loop_of_links_under_a_glob_is_that_videos_affair(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a.mp4").write_bytes(b"film")
    (tmp_path / "v" / "loop.mp4").symlink_to("loop.mp4")
    write_manifest(tmp_path, "  - glob: v/*\n")

    videos = read_manifest(tmp_path / "m.yaml").manifest.videos

    assert [video.video_id for video in videos] == ["v/a.mp4", "v/loop.mp4"]


def test_a_name_that_no_dataset_can_hold_leaves_its_file_out_of_a_glob(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    for name in (b"a.mp4", b"new\nline.mp4", b"bad\xff.mp4"):
        (tmp_path / "v" / os.fsdecode(name)).write_bytes(b"film")
    write_manifest(tmp_path, "  - glob: v/*\n")

    resolved = read_manifest(tmp_path / "m.yaml")

    assert [video.video_id for video in resolved.manifest.videos] == ["v/a.mp4"]
    assert len(resolved.notes) == 2
    assert all("rename it" in note and note.isprintable() for note in resolved.notes)


def test_urls_that_differ_in_more_than_a_signature_are_two_videos(tmp_path: Path) -> None:
    entries = "".join(
        f"  - {{video_url: 'https://e.com/dl?id={n}&X-Amz-Signature=s', id: v{n}}}\n" for n in "12"
    )
    (tmp_path / "m.yaml").write_text(
        f"version: 1\nengine: twelvelabs\nvideos:\n{entries}output: {{path: out}}\n",
        encoding="utf-8",
    )

    assert len(read_manifest(tmp_path / "m.yaml").manifest.videos) == 2


def write_manifest(folder: Path, entries: str) -> None:
    (folder / "m.yaml").write_text(
        f"version: 1\nengine: local\nvideos:\n{entries}output: {{path: out}}\n", encoding="utf-8"
    )


def problems_of(folder: Path, *entries: str) -> list[str]:
    """What is wrong with a manifest that stands in `folder`, as lines without hints."""
    write_manifest(folder, "".join(f"  - {entry}\n" for entry in entries))
    with pytest.raises(ManifestError) as caught:
        read_manifest(folder / "m.yaml")
    return [
        str(problem_lines(problem)[0]).removeprefix(f"{folder}/")
        for problem in caught.value.problems
    ]


def test_an_id_twice_is_told_also_where_its_first_row_has_another_problem(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "path,id,video_clip_length\na.mp4,one,x\nb.mp4,one,4\n", "utf-8"
    )
    table = "{table: t.csv, columns: {video_file: path}}"
    assert problems_of(tmp_path, table) == [
        't.csv:2: line 2, video_clip_length: must be a number, and is the text "x"',
        f"t.csv:3: line 3, id: the id one is used already in {tmp_path}/t.csv line 2",
    ]


def test_a_tables_problems_name_it_from_where_the_user_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in" / "lists").mkdir(parents=True)
    pq.write_table(pa.table({"video_file": ["a\x07.mp4"]}), tmp_path / "in" / "lists" / "t.parquet")
    write_manifest(tmp_path / "in", "  - table: lists/t.parquet\n")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ManifestError) as caught:
        read_manifest("in/m.yaml")

    (line,) = problem_lines(caught.value.problems[0])[:1]
    assert line.startswith("in/lists/t.parquet:1: row 1, video_file: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("video_file;id\na.mp4;one\n", "t.csv has its cells separated by semicolons"),
        ("path,id\na.mp4,one\n", "t.csv has no column video_file or video_url"),
        (
            'video_file,id\na.mp4,one\n"b.mp4,two\nc.mp4,three\n',
            "t.csv is broken in the row of line 3: unexpected end of data",
        ),
    ],
)
def test_what_is_wrong_with_a_whole_table_is_told_once(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "t.csv").write_text(content, "utf-8")
    assert problems_of(tmp_path, "table: t.csv") == [f"m.yaml:4:12: $.videos[0].table: {message}"]


def test_a_glob_without_a_file_says_why(tmp_path: Path) -> None:
    touch(tmp_path, "v/a.mp4", "v/b.mp4")
    (excludes,) = problems_of(tmp_path, "{glob: v/*, exclude: ['*.mp4']}")
    assert excludes.endswith("exclude leaves out all 2 files that v/* matches")
    write_manifest(tmp_path, "  - glob: 'v/*.{mp4,mov}'\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / "m.yaml")
    assert "braces stand for themselves" in (caught.value.problems[0].hint or "")


def notes_of(folder: Path, *entries: str) -> list[str]:
    write_manifest(folder, "".join(f"  - {entry}\n" for entry in entries))
    return list(read_manifest(folder / "m.yaml").notes)


def test_a_glob_that_may_be_empty_says_so_in_a_note(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    assert notes_of(tmp_path, "{glob: v/**/*.mp4, allow_empty: true}") == [
        "no file matches v/**/*.mp4, which allow_empty allows"
    ]
    touch(tmp_path, "v/a.part.mp4")
    assert notes_of(tmp_path, "{glob: v/*, exclude: ['*.part.mp4'], allow_empty: true}") == [
        "exclude leaves out the only file that v/* matches, which allow_empty allows"
    ]
    assert not notes_of(tmp_path, "{glob: v/*, allow_empty: true}")


def test_a_folder_that_is_not_there_is_not_an_empty_one(tmp_path: Path) -> None:
    for pattern, folder in (("inn/*.mp4", "inn"), ("../no/in/**/*.mp4", "../no/in")):
        assert problems_of(tmp_path, f"{{glob: {pattern}, allow_empty: true}}") == [
            f"m.yaml:4:12: $.videos[0].glob: there is no folder {folder}"
        ]


def test_a_glob_is_not_told_to_be_empty_where_its_allowance_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    (problem,) = problems_of(tmp_path, "{glob: v/*, allow_empty: 'true'}")
    assert "must be true or false" in problem


@pytest.mark.parametrize("content", ["video_file\n", ""], ids=["header", "nothing"])
def test_a_table_without_rows_may_be_allowed_as_an_empty_glob_is(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "t.csv").write_text(content, "utf-8")
    (problem,) = problems_of(tmp_path, "table: t.csv")
    assert problem.endswith("t.csv lists no video")
    assert notes_of(tmp_path, "{table: t.csv, allow_empty: true}") == [
        "t.csv lists no video, which allow_empty allows"
    ]


def test_a_table_that_is_not_there_is_not_an_empty_one(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, "{table: t.csv, allow_empty: true}")
    assert "t.csv can't be read" in problem


NAMED = "{video_file: a.mp4, id: first}"


def listed_beside(folder: Path, entry: str, *rows: str) -> Resolved:
    """What a table of these rows gives beside an entry for the file that they name."""
    keys = "video_file,id,video_start_offset_sec,video_end_offset_sec,embedding_option,skip,place"
    (folder / "l.csv").write_text("\n".join((keys, *rows, "")), "utf-8")
    table = "{table: l.csv, metadata_columns: [place], video_clip_length: 4}"
    write_manifest(folder, f"  - {entry}\n  - {table}\n")
    return read_manifest(folder / "m.yaml")


@pytest.mark.parametrize(
    ("row", "video_id"),
    [
        ("a.mp4,win1,,,,,x", "win1"),
        ("./a.mp4,,0,10,,,x", "a.mp4"),
        ("a.mp4,,,,visual-text,,x", "a.mp4"),
        ("a.mp4,win1,,,,broken,x", "win1"),
    ],
    ids=["id", "window", "option", "id and skip"],
)
@pytest.mark.parametrize("skip", ["", ", skip: later"])
def test_a_row_with_something_of_its_own_is_a_video_beside_the_entry_for_its_file(
    tmp_path: Path, row: str, video_id: str, skip: str
) -> None:
    resolved = listed_beside(tmp_path, NAMED.replace("}", f"{skip}}}"), row)
    assert [video.video_id for video in resolved.manifest.videos] == ["first", video_id]
    assert not resolved.notes


def test_rows_that_give_way_to_an_entry_are_counted(tmp_path: Path) -> None:
    only = listed_beside(tmp_path, NAMED, "a.mp4,,,,,,x")
    assert only.notes == ("1 row of l.csv is left out: its file is named by video_file",)

    more = listed_beside(tmp_path, NAMED, "a.mp4,,,,,,x", "a.mp4,,,,,broken,y", "b.mp4,,,,,,z")

    assert [video.video_id for video in more.manifest.videos] == ["first", "b.mp4"]
    assert more.notes == ("2 rows of l.csv are left out: their files are named by video_file",)


@pytest.mark.parametrize(
    ("row", "message", "hint"),
    [
        (
            "a.mp4,first,0,10,,,x",
            "the id first is used already in line 4",
            "give one of the two an id of its own",
        ),
        (
            "a.mp4,other,,,,,x",
            "the same video with the same parameters stands in line 4",
            "keep one of the two, or change the parameters of one",
        ),
    ],
    ids=["id", "parameters"],
)
def test_a_row_that_is_what_an_entry_is_too_is_a_problem_at_the_row(
    tmp_path: Path, row: str, message: str, hint: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        listed_beside(tmp_path, "{video_file: a.mp4, id: first, video_clip_length: 4}", row)
    (problem,) = caught.value.problems
    assert (problem.place.line, problem.message, problem.hint) == (2, message, hint)
