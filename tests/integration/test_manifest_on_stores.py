"""Globs and tables on an object store, and what is wrong with a manifest that names stores."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchembed.core.model import ObjectSource, StoreOptions
from batchembed.core.problems import ManifestError
from batchembed.errors import ExitCode, StoreAccessError, StoreAwayError
from batchembed.manifest.resolve import Resolved, read_manifest
from tests.support.s3 import Bucket


def resolve(folder: Path, *entries: str, more: str = "") -> Resolved:
    lines = "".join(f"  - {entry}\n" for entry in entries)
    (folder / "m.yaml").write_text(
        f"version: 1\nengine: local\n{more}videos:\n{lines}output: {{path: out}}\n", "utf-8"
    )
    return read_manifest(folder / "m.yaml")


def found(folder: Path, *entries: str) -> list[str]:
    return [video.source.shown for video in resolve(folder, *entries).manifest.videos]


def problems(folder: Path, *entries: str, more: str = "") -> list[tuple[str, str, str | None]]:
    with pytest.raises(ManifestError) as caught:
        resolve(folder, *entries, more=more)
    return [(each.place.path, each.message, each.hint) for each in caught.value.problems]


# -- without a store


def test_an_object_is_named_by_its_uri_and_reached_as_the_manifest_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    manifest = resolve(
        tmp_path,
        "video_file: s3://films/a b.mp4",
        more="stores: {s3: {endpoint_url: 'https://minio.example.com:9000', anonymous: true}}\n",
    ).manifest

    stores = StoreOptions(
        endpoint_url="https://minio.example.com:9000", region="eu-west-1", anonymous=True
    )
    (video,) = manifest.videos
    assert manifest.stores == stores
    assert video.source == ObjectSource(uri="s3://films/a b.mp4", stores=stores)
    assert video.video_id == "s3://films/a b.mp4"


def test_the_same_object_twice_is_a_problem(tmp_path: Path) -> None:
    entry = "{video_file: s3://films/a.mp4, id: %s}"

    ((_, message, _),) = problems(tmp_path, entry % "one", entry % "two")

    assert message == "the same video with the same parameters stands in line 4"


@pytest.mark.parametrize(
    ("entry", "message", "hint"),
    [
        (
            "video_file: https://example.com/a.mp4",
            "this is a URL, which the service fetches",
            "write it under video_url",
        ),
        (
            "video_file: file:///v/a.mp4",
            "this is the URI of a file",
            "write its path alone",
        ),
        (
            "glob: ftp://host/*.mp4",
            "ftp:// is no object store that is known here",
            "use s3://, gs://, abfs://, abfss://",
        ),
        (
            "video_file: s3://AKIAX:cafe@films/a.mp4",
            "the URI has credentials in it",
            "take them out: they come from the environment or from a profile",
        ),
        (
            "video_file: s3://films/",
            "the URI names a bucket or a folder, and no object in it",
            "such as s3://films/a.mp4",
        ),
    ],
)
def test_a_uri_that_can_not_be_one_says_what_to_write(
    tmp_path: Path, entry: str, message: str, hint: str
) -> None:
    key = entry.partition(":")[0]

    assert problems(tmp_path, entry) == [(f"$.videos[0].{key}", message, hint)]


def test_with_a_wrong_address_no_other_store_is_asked(tmp_path: Path) -> None:
    entry = "glob: s3://films/*.mp4"

    assert problems(
        tmp_path, entry, more="stores: {s3: {endpoint_uri: 'http://localhost:1'}}\n"
    ) == [
        (
            "$.stores.s3.endpoint_uri",
            "unknown key `endpoint_uri`",
            "did you mean endpoint_url?",
        )
    ]
    assert problems(tmp_path, entry, more="stores: {s3: {endpoint_url: 'localhost:9'}}\n") == [
        (
            "$.stores.s3.endpoint_url",
            "an endpoint begins with https:// or http://",
            "such as https://minio.example.com:9000",
        )
    ]


# -- with one


@pytest.mark.slow
def test_stars_mean_on_a_store_what_they_mean_in_a_folder(s3: Bucket, tmp_path: Path) -> None:
    for key in ("v/a.mp4", "v/x/b.mp4", "v/x/y/c.mp4", "v/.h.mp4", "v/.d/e.mp4", "w/f.mp4"):
        s3.put(key, b"film")

    def keys(pattern: str, more: str = "") -> list[str]:
        shown = found(tmp_path, f"{{glob: '{s3.uri(pattern)}'{more}}}")
        return [uri.removeprefix(s3.uri()) for uri in shown]

    assert keys("v/*.mp4") == ["v/a.mp4"]
    assert keys("v/*/*.mp4") == ["v/x/b.mp4"]
    assert keys("v/**/*.mp4") == ["v/a.mp4", "v/x/b.mp4", "v/x/y/c.mp4"]
    assert keys("*/?.mp4") == ["v/a.mp4", "w/f.mp4"]
    assert keys("v/.d/*.mp4") == ["v/.d/e.mp4"]
    assert keys("v/**/*.mp4", ", exclude: ['b.*']") == ["v/a.mp4", "v/x/y/c.mp4"]
    assert keys("v/**/*.mp4", f", exclude: ['{s3.uri('v/x/**')}']") == ["v/a.mp4"]


@pytest.mark.slow
def test_objects_are_sorted_by_the_bytes_of_their_keys(s3: Bucket, tmp_path: Path) -> None:
    for key in ("é.mp4", "b.mp4", "B.mp4", "a/c.mp4"):
        s3.put(key, b"film")

    assert found(tmp_path, f"glob: {s3.uri('**/*.mp4')}") == [
        s3.uri(key) for key in ("B.mp4", "a/c.mp4", "b.mp4", "é.mp4")
    ]


@pytest.mark.slow
def test_a_listing_is_read_to_its_last_page(s3: Bucket, tmp_path: Path) -> None:
    for number in range(8):
        s3.put(f"v/{number}.mp4", b"film")
    s3.server.shorten_pages(3)
    s3.server.forget_asked()

    assert len(found(tmp_path, f"glob: {s3.uri('v/**')}")) == 8
    assert sum(asked.method == "GET" for asked in s3.server.asked()) == 3


@pytest.mark.slow
def test_only_what_is_under_the_plain_part_is_listed(s3: Bucket, tmp_path: Path) -> None:
    s3.put("in/deep/a.mp4", b"film")
    s3.put("in/b.mp4", b"film")
    s3.server.forget_asked()

    found(tmp_path, f"glob: {s3.uri('in/*.mp4')}")

    (listing,) = (asked for asked in s3.server.asked() if asked.method == "GET")
    assert "prefix=in/" in listing.query.replace("%2F", "/")
    assert "delimiter=" in listing.query


@pytest.mark.slow
def test_an_object_of_its_own_entry_is_taken_out_of_globs_and_tables(
    s3: Bucket, tmp_path: Path
) -> None:
    s3.put("a.mp4", b"film")
    s3.put("b.mp4", b"film")
    s3.put("t.csv", f"video_file\n{s3.uri('a.mp4')}\n".encode())

    shown = found(
        tmp_path,
        f"glob: {s3.uri('*.mp4')}",
        f"{{video_file: '{s3.uri('a.mp4')}', id: mine}}",
        f"table: {s3.uri('t.csv')}",
    )

    assert shown == [s3.uri("b.mp4"), s3.uri("a.mp4")]


@pytest.mark.slow
def test_a_key_that_no_uri_can_say_is_left_out_with_a_note(s3: Bucket, tmp_path: Path) -> None:
    s3.put("v/a.mp4", b"film")
    s3.put("v/b?x=1.mp4", b"film")

    resolved = resolve(tmp_path, f"glob: {s3.uri('v/*')}")

    assert [video.source.shown for video in resolved.manifest.videos] == [s3.uri("v/a.mp4")]
    (note,) = resolved.notes
    assert "left out" in note


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_table_on_a_store_lists_objects_and_files(
    s3: Bucket, tmp_path: Path, suffix: str
) -> None:
    uri = s3.uri("films/a.mp4")
    table = pa.table({"video_file": [uri, "b.mp4"], "id": ["one", "two"], "place": ["x", "y"]})
    match suffix:
        case "csv":
            content = f"video_file,id,place\n{uri},one,x\nb.mp4,two,y\n".encode()
        case "jsonl":
            content = "\n".join(str(row).replace("'", '"') for row in table.to_pylist()).encode()
        case _:
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink)
            content = sink.getvalue().to_pybytes()
    s3.put(f"lists/t.{suffix}", content)

    videos = resolve(
        tmp_path, f"{{table: '{s3.uri(f'lists/t.{suffix}')}', metadata_columns: [place]}}"
    ).manifest.videos

    assert [(video.video_id, video.source.shown) for video in videos] == [
        ("one", uri),
        ("two", "b.mp4"),
    ]
    assert [video.metadata["place"] for video in videos] == ["x", "y"]


@pytest.mark.slow
def test_what_is_wrong_in_a_table_on_a_store_is_told_with_its_uri(
    s3: Bucket, tmp_path: Path
) -> None:
    s3.put("t.csv", b"video_file,video_clip_length\ns3://k:s@b/a.mp4,4\na.mp4,x\n")
    with pytest.raises(ManifestError) as caught:
        resolve(tmp_path, f"table: {s3.uri('t.csv')}")

    told = [(each.place.file, each.place.line, each.message) for each in caught.value.problems]
    assert told == [
        (s3.uri("t.csv"), 2, "the URI has credentials in it"),
        (s3.uri("t.csv"), 3, 'must be a number, and is the text "x"'),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("glob: s3://no-such-bucket/*.mp4", "there is no bucket no-such-bucket"),
        ("glob: {bucket}none/*.mp4", "no file matches s3://"),
        ("table: {bucket}none.csv", "there is no s3://"),
    ],
)
def test_what_is_not_there_ends_with_its_own_exit_code(
    s3: Bucket, tmp_path: Path, entry: str, message: str
) -> None:
    with pytest.raises(ManifestError) as caught:
        resolve(tmp_path, entry.format(bucket=s3.uri()))

    assert caught.value.exit_code is ExitCode.NO_INPUT
    assert caught.value.problems[0].message.startswith(message)


@pytest.mark.slow
@pytest.mark.parametrize("entry", ["glob: {uri}*.mp4", "table: {uri}t.csv"])
def test_a_store_that_may_not_be_read_or_is_away_ends_the_command(
    s3: Bucket, tmp_path: Path, entry: str
) -> None:
    s3.put("t.csv", b"video_file\na.mp4\n")
    s3.server.refuse(f"/{s3.name}", 403, "AccessDenied")
    with pytest.raises(StoreAccessError, match="permission denied for s3://"):
        resolve(tmp_path, entry.format(uri=s3.uri()))
    s3.server.heal()
    s3.server.stop()
    try:
        with pytest.raises(StoreAwayError, match="gives no answer"):
            resolve(tmp_path, entry.format(uri=s3.uri()))
    finally:
        s3.server.start()
