"""Lists of clips: lines and tables, where their files are, and how labels are spelt."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from movinet_models.clips import LabelledClip, collect, find_clips, open_clip, part
from movinet_models.lists import (
    SPLITS,
    KineticsClip,
    ListedClip,
    Videos,
    format_kinetics,
    format_list,
    match_labels,
    parse_kinetics,
    parse_list,
    spelling,
)
from movinet_runtime import Frame
from movinet_runtime.errors import LabelsError, SourceError, UsageError

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\n"), min_size=1)
# What stands in a cell of a table: its ends are trimmed, and a row is a line.
CELLS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1
).filter(lambda text: text == text.strip())
SECONDS = st.floats(0, 1e5)


@given(st.lists(st.tuples(WORDS, st.one_of(WORDS, st.integers(0, 10**6)))))
def test_a_list_survives_being_written_and_read(pairs: list[tuple[str, str | int]]) -> None:
    clips = [ListedClip(path, label, i) for i, (path, label) in enumerate(pairs, start=1)]
    assert parse_list(format_list(clips), "list") == clips


@given(st.lists(st.tuples(CELLS, CELLS, SECONDS, SECONDS, st.sampled_from([None, *SPLITS]))))
def test_a_table_survives_being_written_and_read(
    rows: list[tuple[str, str, float, float, str | None]],
) -> None:
    clips = [
        KineticsClip(label, video, min(a, b), max(a, b) + 1, split, i)
        for i, (label, video, a, b, split) in enumerate(rows, start=2)
    ]
    assert parse_kinetics(format_kinetics(clips), "table") == clips


@given(st.text())
def test_any_text_is_a_list_or_one_line_that_says_why_not(text: str) -> None:
    for said in (_error(parse_list, text), _error(parse_kinetics, text)):
        assert said is None or said.startswith("file, line ")


def _error(parse: Callable[[str, str], object], text: str) -> str | None:
    try:
        parse(text, "file")
    except UsageError as error:
        return str(error)
    return None


def test_lines_as_others_write_them() -> None:
    text = (
        "abseiling/a b.mp4 climbing\r\n"  # the path is up to the first space
        "\n"
        "b.mp4\t12\n"
        '"my clips/c.mp4" arm wrestling\n'
        'd.mp4 "7"\n'
        'e.mp4 says "hello"\n'
    )
    assert [(clip.path, clip.label, clip.line) for clip in parse_list(text, "l")] == [
        ("abseiling/a", "b.mp4 climbing", 1),
        ("b.mp4", 12, 3),
        ("my clips/c.mp4", "arm wrestling", 4),
        ("d.mp4", "7", 5),
        ("e.mp4", 'says "hello"', 6),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.mp4", "needs 'path label'"),
        ('"a.mp4 label', "a quote is not closed"),
        ('"" label', "needs 'path label'"),
        ('a.mp4 "b" c', "not quoted as a whole"),
        ('a.mp4 ""', "not quoted as a whole"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"val.txt, line 2: .*{message}"):
        parse_list(f"a.mp4 0\n{line}\n", "val.txt")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (",abc,0,10,test", "no label"),
        ("archery,,0,10,test", "no youtube_id"),
        ("archery,abc,nan,10,test", "'nan' is no time in seconds"),
        ("archery,abc,0,inf,test", "'inf' is no time"),
        ("archery,abc,-1,10,test", "'-1' is no time"),
        ("archery,abc,0", "'' is no time"),
        ("archery,abc,10,10,test", "ends at second 10 and begins at 10"),
        ("archery,abc,0,10,dev", "split is train, validation, test, not 'dev'"),
    ],
)
def test_a_bad_row_is_named(row: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"k.csv, line 2: .*{message}"):
        parse_kinetics(f"label,youtube_id,time_start,time_end,split\n{row}\n", "k.csv")


def test_kinetics_without_labels_is_not_judged() -> None:
    with pytest.raises(UsageError, match="line 1: no column 'label'"):
        parse_kinetics("youtube_id,time_start,time_end,split\nabc,0,10,test\n", "k.csv")


def test_where_the_videos_are(tmp_path: Path) -> None:
    for name in (
        "whole.webm",
        "cut_000003_000013.mp4",
        "cut.mp4",
        "cut.json",
        "arm_wrestling/there.mkv",
        "ironing/elsewhere.mp4",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    table = tmp_path / "k.csv"
    clips = [
        KineticsClip("arm wrestling", video, 3, 13, "test")
        for video in ("whole", "cut", "there", "elsewhere", "gone")
    ]
    table.write_text(format_kinetics(clips), "utf-8")
    found = find_clips(table, min_classes=1)
    whole, cut, there, elsewhere, gone = found
    assert (whole.path, whole.seconds) == (tmp_path / "whole.webm", (3.0, 13.0))
    assert (cut.path, cut.seconds) == (tmp_path / "cut_000003_000013.mp4", None)
    assert (there.path, there.seconds) == (tmp_path / "arm_wrestling/there.mkv", (3.0, 13.0))
    for missing in (elsewhere, gone):  # another class's video is not this class's clip
        assert not missing.path.exists()
    assert gone.path.name == "gone_000003_000013.mp4"
    assert {clip.split for clip in found} == {"test"}
    with pytest.raises(UsageError, match=r"line 2: .*whole.webm is a whole video"):
        collect(found, 0.2)
    assert Videos.of(tmp_path).find(clips[4]) is None


def test_indices_need_a_model(tmp_path: Path) -> None:
    listed = tmp_path / "val.list"
    listed.write_text('a.mp4 1\nb.mp4 "1"\n', "utf-8")
    found = find_clips(listed, tmp_path / ".", ["zero", "one"])
    assert [(clip.path.name, clip.label) for clip in found] == [("a.mp4", "one"), ("b.mp4", "1")]
    with pytest.raises(UsageError, match="line 1: 1 is no index, the model has 1 labels"):
        find_clips(listed, labels=["zero"])
    with pytest.raises(UsageError, match="line 1: 1 is an index"):
        find_clips(listed)
    with pytest.raises(UsageError, match="only lists take it"):
        find_clips(tmp_path, tmp_path)
    with pytest.raises(UsageError, match="it is no folder"):
        find_clips(listed, listed)


def test_labels_but_for_their_spelling() -> None:
    known = ["arm wrestling", "Arm_wrestling", "ironing"]
    assert match_labels(["Arm_wrestling", "IRONING"], known, "m") == {
        "Arm_wrestling": 1,
        "IRONING": 2,
    }
    with pytest.raises(LabelsError, match="'ARM wrestling' may be 'arm wrestling' or"):
        match_labels(["ARM wrestling"], known, "m")
    with pytest.raises(LabelsError, match="l, line 3: m does not know 'archery'"):
        match_labels(["archery"], known, "m", {"archery": "l, line 3"})
    assert spelling("  Arm_wrestling ") == "arm wrestling"


def frames(*times: float, duration: float = 0.0) -> list[Frame]:
    return [Frame(np.full((1, 1, 3), i, np.uint8), t, duration) for i, t in enumerate(times)]


@pytest.mark.parametrize(
    ("start", "end", "shown"),
    [
        (0, 9, [(0, 5), (1, 6), (2, 7), (3, 8)]),
        (1, 3, [(1, 6), (2, 7)]),
        (1.5, 3, [(1, 6.5), (2, 7)]),
        (2.5, 2.6, [(2, 7.5)]),
        (3.5, 9, [(3, 8.5)]),
        (4, 9, []),
    ],
)
def test_a_part_begins_with_the_frame_that_is_then_seen(
    start: float, end: float, shown: list[tuple[int, float]]
) -> None:
    found = list(part(frames(5, 6, 7, 8, duration=1), start, end))
    assert [(int(f.image[0, 0, 0]), f.time) for f in found] == shown
    if found:
        assert found[-1].time + found[-1].duration <= 5 + end + 1e-9


def test_seconds_of_a_video(write_video: Callable[..., Path]) -> None:
    path = write_video(frames=20, fps=10)  # frame i has the value 8 i
    clip = LabelledClip(path, "a", seconds=(0.5, 1.5))
    values = [int(f.image.mean().round()) // 8 for f in open_clip(clip).sampled(5)]
    assert values == pytest.approx([5, 7, 9, 11, 13], abs=1)
    with pytest.raises(SourceError, match="seconds 30 to 40, has no frames"):
        list(open_clip(LabelledClip(path, "a", seconds=(30, 40))).sampled(5))
