"""movinet mine: which segments, and clips that are what they say."""

import csv
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from movinet_models.clips import collect, find_clips
from movinet_models.splits import recordings
from movinet_runtime import open_frames
from movinet_runtime.archive.mine import Row, Wanted, doubt_of, mine, read_rows
from movinet_runtime.archive.mine_cli import folder_of, mine_command
from movinet_runtime.errors import SourceError, UsageError
from movinet_runtime.outputs.cut import cut

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]
FPS = 10


def row(start: float, end: float, label: str, probability: float, *top: float) -> Row:
    return Row("a.mp4", start, end, label, probability, top)


def spans(rows: list[Row], **wanted: Any) -> list[tuple[float, float, str]]:
    found = mine(rows, Wanted(**wanted))
    return [(round(one.start, 3), round(one.end, 3), one.label) for one in found]


STORY = [
    row(0, 1, "wave", 0.9),
    row(1, 2, "wave", 0.7),
    row(2, 3, "sit", 0.6),
    row(3, 4, "wave", 0.8),
    row(4, 5, "wave", 0.4),
]


def test_neighbours_of_one_label_are_one_segment() -> None:
    assert spans(STORY) == [(0, 2, "wave"), (2, 3, "sit"), (3, 5, "wave")]
    (first, *_) = mine(STORY, Wanted())
    assert first.probability == pytest.approx(0.8)
    waves = frozenset({"wave"})
    assert spans(STORY, labels=waves) == [(0, 2, "wave"), (3, 5, "wave")]
    assert spans(STORY, labels=waves, gap=1.0) == [(0, 5, "wave")]
    assert spans(STORY, least=0.75) == [(0, 1, "wave"), (3, 4, "wave")]
    assert spans(STORY, least=0.5, most=0.7) == [(1, 2, "wave"), (2, 3, "sit")]
    assert spans(STORY, labels=waves, limit=1) == [(0, 2, "wave")]
    assert spans(STORY, limit=1) == [(0, 2, "wave"), (2, 3, "sit")]
    assert spans(STORY, most_segments=1) == [(0, 2, "wave")]
    assert spans(STORY, shortest=1.5) == [(0, 2, "wave"), (3, 5, "wave")]
    assert spans(STORY, labels=waves, longest=1.0, limit=2) == [(0, 1, "wave"), (1, 2, "wave")]
    # Files are never joined.
    other = [Row("b.mp4", one.start, one.end, one.label, one.probability) for one in STORY]
    assert len(mine([*STORY, *other], Wanted())) == 6


def test_windows_that_overlap_leave_the_time_to_the_better_one() -> None:
    windows = [row(0, 2, "a", 0.9), row(1, 3, "b", 0.5), row(2, 4, "a", 0.8)]
    assert spans(windows) == [(0, 2, "a"), (2, 4, "a")]  # nothing is left of b
    assert spans([windows[0], row(1, 3, "a", 0.5), windows[2]]) == [(0, 4, "a")]
    assert spans([windows[0], row(1, 4, "b", 0.5)]) == [(0, 2, "a"), (2, 4, "b")]
    assert spans(STORY, labels=frozenset({"sit"}), pad=0.5) == [(1.5, 3.5, "sit")]
    assert spans(STORY[:1], pad=5.0) == [(0, 1, "wave")]  # not beyond what was labelled


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.integers(1, 9), st.sampled_from("abc"), st.floats(0, 1)),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from([None, "margin", "entropy"]),
    st.sampled_from([0.0, 0.5, 3.0]),
    st.sampled_from([None, 2]),
)
def test_no_two_segments_overlap(
    drawn: list[tuple[int, int, str, float]], doubt: Any, pad: float, limit: int | None
) -> None:
    rows = [row(s, s + n, label, p, p, (1 - p) / 2) for s, n, label, p in drawn]
    found = mine(rows, Wanted(doubt=doubt, pad=pad, limit=limit, most_segments=8))
    assert 1 <= len(found) <= 8
    for one, after in itertools.pairwise(found):
        assert one.end <= after.start
    for label in "abc":
        assert limit is None or sum(one.label == label for one in found) <= limit
    assert {one.label for one in found} <= {one.label for one in rows}


def test_the_most_doubtful_moments_come_first() -> None:
    rows = [
        row(0, 1, "a", 0.9, 0.9, 0.05),
        row(1, 2, "a", 0.5, 0.5, 0.48),
        row(2, 3, "b", 0.5, 0.5, 0.47),
        row(5, 6, "b", 0.4, 0.4, 0.3, 0.3),
        row(7, 8, "c", 0.6, 0.6),
    ]
    assert doubt_of(rows[1], "margin") == pytest.approx(0.98)
    assert doubt_of(rows[4], "margin") is None
    assert doubt_of(rows[3], "entropy") == pytest.approx(1.571, abs=1e-3)
    assert doubt_of(rows[4], "entropy") == pytest.approx(0.971, abs=1e-3)
    margin = {"doubt": "margin", "most_segments": 2}
    assert spans(rows, **margin) == [(1, 2, "a"), (2, 3, "b")]
    assert spans(rows, **margin, pad=0.5) == [(0.5, 2.5, "a"), (4.5, 6.5, "b")]
    assert spans(rows, doubt="entropy", most_segments=1) == [(5, 6, "b")]
    assert spans(rows, **margin, limit=1, labels=frozenset("b")) == [(2, 3, "b")]
    with pytest.raises(UsageError, match="column top must hold two labels"):
        mine([rows[4]], Wanted(doubt="margin"))


def test_what_is_beyond_a_limit_in_one_file_leaves_room_for_other_labels() -> None:
    rows = [row(0, 1, "a", 0.5, 0.5, 0.5), row(1, 2, "a", 0.5, 0.5, 0.4)]
    rows += [row(2, 3, "b", 0.5, 0.5, 0.1)]
    found = spans(rows, doubt="margin", most_segments=2, limit=1)
    assert found == [(0, 1, "a"), (2, 3, "b")]


def line(**changed: Any) -> dict[str, Any]:
    values = {"path": "a.mp4", "start": 0.0, "end": 1.0, "frame": 0, "label": "a"}
    rest = {"probability": 0.5, "top": [], "truth": None, "error": None}
    return {**values, **rest, **changed}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"start": -1.0}, "row 2: start is a number from 0"),
        ({"start": float("nan")}, "row 2: start is a number"),
        ({"end": 1e300}, "row 2: end is a number"),
        ({"start": 2.0}, "row 2: it ends at second 1 and begins at 2"),
        ({"probability": 1.5}, "row 2: probability is a number from 0 to 1, not 1.5"),
        ({"probability": "x"}, "row 2: probability is a number"),
        ({"path": None}, "row 2: no path"),
        ({"label": 3}, "row 2: label is a text"),
        ({"top": [0.3]}, "row 2: top is a list of labels"),
        ({"top": [{"label": "a"}]}, "row 2: probability is a number"),
    ],
)
def test_a_senseless_row_is_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (line(), line(**changed))))
    with pytest.raises(UsageError, match=message) as raised:
        list(read_rows(path))
    assert str(raised.value).startswith(str(path))


def test_other_files_are_no_labels(tmp_path: Path) -> None:
    lacking = line()
    del lacking["top"]
    for name, content, message in (
        ("a.jsonl", b"{", "line 1: no JSON"),
        ("a.jsonl", b"[" * 100_000, "line 1: no JSON"),
        ("a.jsonl", b"[1]\n", "line 1: it is no object"),
        ("a.jsonl", b"\xff\xfe", "cannot read the labels"),
        ("a.jsonl", json.dumps(lacking).encode(), "line 1: no column 'top'"),
        ("a.parquet", b"PAR1", "cannot read the labels"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=message):
            list(read_rows(tmp_path / name))
    with pytest.raises(UsageError, match="cannot read the labels"):
        list(read_rows(tmp_path / "gone.jsonl"))


def write_labels(path: Path, rows: list[dict[str, Any]]) -> Path:
    """As movinet label does."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    top = pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float64())]))
    columns = [
        ("path", pa.string()),
        ("start", pa.float64()),
        ("end", pa.float64()),
        ("frame", pa.int64()),
        ("label", pa.string()),
        ("probability", pa.float64()),
        ("top", top),
        ("truth", pa.string()),
        ("error", pa.string()),
    ]
    table = pa.Table.from_pylist(rows, schema=pa.schema(columns))
    pq.write_table(table, path, row_group_size=3)
    return path


def labelled(videos: list[Path]) -> list[dict[str, Any]]:
    """Two seconds of waving, one of sitting, one of waving, for each; and a file with an error."""
    story = (("wave", 0.9), ("wave", 0.7), ("sit", 0.6), ("wave", 0.8))
    rows = [
        line(
            path=str(video),
            start=float(second),
            end=second + 1.0,
            frame=second * FPS,
            label=label,
            probability=probability,
            top=[
                {"label": label, "probability": probability},
                {"label": "other", "probability": 1 - probability},
            ],
        )
        for video in videos
        for second, (label, probability) in enumerate(story)
    ]
    return [*rows, line(path="bad.mp4", label=None, probability=None, top=None, error="broken")]


def keyed_video(path: Path, frames: int, step: int) -> Path:
    """Grey frames that count; a key frame each second, B-frames between, presented late."""
    import av

    with av.open(str(path), "w") as container:
        options = {"g": "10", "keyint_min": "10", "bf": "2", "sc_threshold": "0", "crf": "10"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(frames):
            picture = np.full((48, 64, 3), step * i % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


def greys(path: Path) -> list[float]:
    return [float(frame.image.mean()) for frame in open_frames(path)]


def movinet(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [*MOVINET, "mine", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd)


def called(*arguments: object) -> Any:
    """The same without a process of its own."""
    app = typer.Typer()
    app.command()(mine_command)
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """Labels of two videos of 4 s."""
    folder = tmp_path_factory.mktemp("archive")
    videos = [keyed_video(folder / f"cam {i}.mp4", 4 * FPS, step) for i, step in ((1, 4), (2, 6))]
    return write_labels(folder / "labels.parquet", labelled(videos)), videos


@pytest.mark.parametrize("exact", [False, True])
def test_clips_hold_the_frames_they_name(tmp_path: Path, exact: bool) -> None:
    source = keyed_video(tmp_path / "a.mp4", 4 * FPS, 5)
    for start, end in ((0.0, 1.0), (1.0, 2.0), (1.5, 2.5), (2.2, 4.0)):
        made = cut(source, start, end, tmp_path / f"{start}", exact)
        first = round(start * FPS) if exact else int(start) * FPS  # the key frame before
        assert made.start == pytest.approx(first / FPS, abs=1e-6)
        found = greys(made.path)
        last = round(end * FPS)
        # A copy may go on to a frame that others were made of.
        assert last - first <= len(found) <= last - first + (0 if exact else 3)
        for shown, i in zip(found, range(first, last), strict=False):
            assert shown == pytest.approx(5 * i % 256, abs=2.5), (start, i)
        assert made.end == pytest.approx(end, abs=0.31)
        times = [frame.time for frame in open_frames(made.path)]
        np.testing.assert_allclose(np.diff(times), 1 / FPS, atol=1e-3)
        assert len(list(open_frames(made.path).sampled(FPS))) == len(found)
    with pytest.raises(SourceError, match="has nothing at second 9"):
        cut(source, 9.0, 10.0, tmp_path / "late", exact)
    with pytest.raises(SourceError, match="does not exist"):
        cut(tmp_path / "gone.mp4", 0.0, 1.0, tmp_path / "late", exact)
    assert not list(tmp_path.glob("*late*"))


def test_copies_keep_turns_and_streams_without_an_index(tmp_path: Path, shared: Path) -> None:
    turned = shared / "clips" / "video_90.mov"
    made = cut(turned, 0.0, 1.0, tmp_path / "turned")
    ours, theirs = (next(iter(open_frames(path))).image for path in (made.path, turned))
    np.testing.assert_array_equal(ours, theirs)
    source = keyed_video(tmp_path / "a.ts", 4 * FPS, 5)  # begins at 1.4 s, and has no index
    made = cut(source, 2.5, 3.5, tmp_path / "b")
    assert made.start == pytest.approx(2.0)
    assert greys(made.path)[0] == pytest.approx(100, abs=2.5)


def test_animations_are_encoded(tmp_path: Path) -> None:
    from PIL import Image

    pictures = [Image.new("RGB", (65, 49), (20 * i,) * 3) for i in range(6)]
    source = tmp_path / "a.gif"
    pictures[0].save(source, save_all=True, append_images=pictures[1:], duration=100)
    made = cut(source, 0.25, 0.45, tmp_path / "b")
    assert greys(made.path) == pytest.approx([40, 60, 80], abs=3)
    times = [round(frame.time, 3) for frame in open_frames(made.path)]
    assert times == [0, 0.05, 0.15]


def test_clips_are_what_training_takes(archive: tuple[Path, list[Path]], tmp_path: Path) -> None:
    labels, videos = archive
    folder, table = tmp_path / "clips", tmp_path / "clips.csv"
    done = movinet(labels, "--cut", folder, "-o", table, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["rows"], said["files"], said["errors"], said["failures"]) == (9, 2, 1, [])
    assert sorted(path.name for path in folder.iterdir()) == ["sit", "wave"]
    names = sorted(path.name for path in (folder / "wave").iterdir())
    assert len(names) == 4
    assert names[0].startswith("cam 1-")
    assert names[0].endswith("_00000.000-00002.000.mp4")
    for one in said["segments"]:
        (first, step) = (round(one["clip_start"] * FPS), 4 if "cam 1" in one["path"] else 6)
        found = greys(Path(one["clip"]))
        assert len(found) >= round((one["end"] - one["start"]) * FPS)
        assert found[0] == pytest.approx(step * first % 256, abs=2.5)
    for data in (folder, table):
        clips = collect(find_clips(data), 0.5)
        assert clips.labels == ["sit", "wave"]
        assert not clips.skipped
        assert len(clips.clips) == 6
        sides = {"cam 1": set[str](), "cam 2": set[str]()}
        for clip in clips.clips:
            sides[clip.path.name[:5]].add(clip.split or "")
        assert sorted(map(len, sides.values())) == [1, 1]  # by recording
        assert sides["cam 1"] != sides["cam 2"]
    again = called(labels, "--cut", folder, "--limit", 1, "--label", "wave", "--exact")
    assert "wave: 1 segments, 2.0 s, clips begin 0.0 s early" in again.stdout
    assert videos[0].exists()


def test_lists_name_seconds(archive: tuple[Path, list[Path]], tmp_path: Path) -> None:
    labels, videos = archive
    done = called(labels, "--label", "sit", "-o", tmp_path / "a.csv", "--pad", "0.5")
    assert done.exit_code == 0, done.exception
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(one["path"], one["start"], one["end"]) for one in rows] == [
        (str(video), "1.500", "3.500") for video in videos
    ]
    clips = find_clips(tmp_path / "a.csv", min_classes=1)
    assert [clip.seconds for clip in clips] == [(1.5, 3.5)] * 2
    with pytest.raises(UsageError, match="movinet mine --cut"):
        collect(clips, 0.5)
    assert called(labels, "-o", tmp_path / "a.txt").exit_code == 0
    clips = find_clips(tmp_path / "a.txt")
    assert {(clip.path, clip.label) for clip in clips} == {
        (video, label) for video in videos for label in ("wave", "sit")
    }
    assert not called(
        labels, "--uncertain", "margin", "--top", 1, "-o", tmp_path / "a.jsonl"
    ).exception
    (doubtful,) = map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())
    assert (doubtful["start"], doubtful["end"], doubtful["label"]) == (1, 4, "sit")
    assert doubtful["doubt"] == pytest.approx(0.8)


def test_a_file_that_is_gone_costs_its_clips_alone(
    archive: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    _, videos = archive
    rows = [line(path=str(videos[0])), line(path="gone.mp4", label="b")]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    done = movinet("labels.jsonl", "--cut", "clips", cwd=tmp_path)
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert "gone.mp4" in said
    assert [path.name for path in (tmp_path / "clips").iterdir()] == ["a"]


def test_wrong_options_are_one_line(archive: tuple[Path, list[Path]], tmp_path: Path) -> None:
    labels, _ = archive
    for arguments, message in (
        (["--label", "fly"], "no row of"),
        (["--min", "0.6", "--max", "0.5"], "--min 0.6 is more than --max 0.5"),
        (["-o", tmp_path / "a.doc"], "cannot tell the format"),
        (["--exact"], "--exact is for clips, with --cut"),
        (["--uncertain", "margin", "--gap", "1"], "--gap is for segments of a label"),
    ):
        done = called(labels, *arguments)
        assert isinstance(done.exception, UsageError)
        assert message in str(done.exception)
        assert len(str(done.exception).splitlines()) == 1
    assert not list(tmp_path.iterdir())
    for label in ("train", "test"):
        with pytest.raises(UsageError, match="takes it for a split"):
            folder_of(label)
    assert folder_of("carry/hold (an object)") == "carry_hold (an object)"
    assert folder_of("..") == "_."


def test_names_of_clips_tell_their_recordings() -> None:
    mined = [Path(f"cam-{mark}_00000.000-00002.000.mp4") for mark in ("00aa11bb", "22cc33dd")]
    more = Path("cam-00aa11bb_00007.500-100008.000.mp4")
    names, pattern = recordings([*mined, more])
    assert names == ["cam-00aa11bb", "cam-22cc33dd", "cam-00aa11bb"]
    assert pattern is not None
    # Beside clips of one's own, each of which is a recording.
    own = Path("clips/wave/own.mp4")
    assert recordings([*mined, more, own])[0] == [*names, str(own)]
    # What a cut source's name says of its recording still counts.
    of_known = [Path(f"v_Archery_g08_c0{i}-00aa11b{i}_00000.000-00002.000.avi") for i in (1, 2)]
    assert recordings([*of_known, Path("v_Archery_g08_c03.avi")])[0] == ["v_Archery_g08"] * 3


def test_parquet_needs_pyarrow_and_says_so(
    archive: tuple[Path, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from movinet_runtime.errors import MissingPackageError

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match=r"movinet-runtime\[label\]"):
        list(read_rows(archive[0]))
