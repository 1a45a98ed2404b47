"""No leak: recordings stay on one side, and a trained file knows which clips it has seen."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from movinet_models.clips import LabelledClip, collect, find_clips
from movinet_models.figures import LABELS, clips, render
from movinet_models.splits import fingerprint, held_back, packed, recordings, unpacked
from movinet_runtime.errors import UsageError
from movinet_runtime.outputs.video import save_frames

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]
UCF = [f"v_{name}_g{g:02}_c{c:02}.avi" for name in ("Archery", "Bowling") for g in (1, 2, 3, 4)
       for c in (1, 2, 3)]  # fmt: skip


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=60),
    st.floats(0, 1),
    st.integers(0, 3),
)
def test_a_group_never_stands_on_both_sides(
    rows: list[tuple[str, int]], share: float, seed: int
) -> None:
    labels, groups = [label for label, _ in rows], [group for _, group in rows]
    back = held_back(labels, groups, share, seed)
    sides: dict[int, set[bool]] = {}
    for group, side in zip(groups, back, strict=True):
        sides.setdefault(group, set()).add(side)
    assert all(len(side) == 1 for side in sides.values())
    left = Counter(label for label, side in zip(labels, back, strict=True) if not side)
    assert left.keys() == set(labels)  # every class has something to learn from
    assert back == held_back(labels, groups, share, seed)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 30)), min_size=2, max_size=12),
    st.floats(0.05, 0.5),
    st.integers(0, 9),
)
def test_long_recordings_do_not_run_away_with_the_share(
    groups: list[tuple[str, int]], share: float, seed: int
) -> None:
    """Each class keeps back its share at most, or one recording, the shortest."""
    labels = [label for label, size in groups for _ in range(size)]
    names = [i for i, (_, size) in enumerate(groups) for _ in range(size)]
    back = held_back(labels, names, share, seed)
    for label in set(labels):
        sizes = [size for other, size in groups if other == label]
        kept = sum(side for side, one in zip(back, labels, strict=True) if one == label)
        assert kept <= max(1, round(share * sum(sizes)), min(sizes))
        assert (kept > 0) == (len(sizes) > 1)


@given(st.integers(2, 40), st.floats(0.05, 0.5))
def test_each_class_keeps_its_share_back(count: int, share: float) -> None:
    labels = ["a"] * count + ["b"] * count
    back = held_back(labels, range(2 * count), share)
    for label in "ab":
        kept = sum(side for side, one in zip(back, labels, strict=True) if one == label)
        assert kept == min(max(1, round(share * count)), count - 1)


def test_names_of_known_data_sets_tell_the_recording() -> None:
    names, pattern = recordings([Path(name) for name in UCF])
    assert pattern is not None
    assert len(set(names)) == 8
    assert names[:4] == ["v_Archery_g01"] * 3 + ["v_Archery_g02"]
    cut = [Path(f"abcdefghijk_{start:06}_{start + 10:06}.mp4") for start in (0, 10)]
    assert recordings(cut)[0] == ["abcdefghijk"] * 2
    mixed = [*cut, Path("other.mp4")]
    assert recordings(mixed) == ([str(path) for path in mixed], None)
    assert recordings(mixed, r"^(...)")[0] == ["abc", "abc", "oth"]
    assert recordings(mixed, r"(abc)|(other)")[0] == ["abc", "abc", "other"]
    assert recordings(mixed, ".*")[0] == [path.stem for path in mixed]
    with pytest.raises(UsageError, match=r"--group _c does not occur in other\.mp4"):
        recordings([Path("a_c1.mp4"), Path("other.mp4")], "_c")
    with pytest.raises(UsageError, match="is no regular expression"):
        recordings(mixed, "(")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of UCF101's names, four recordings each, three clips of each."""
    data = tmp_path_factory.mktemp("ucf")
    for i, name in enumerate(UCF):
        label = LABELS[i // 12]
        (data / label).mkdir(exist_ok=True)
        clip = [c for c in clips("train", 13 * 40) if c.label == label][i]
        path = data / label / Path(name).with_suffix(".mp4")
        save_frames(path, render(clip, frames=5, side=40), 5)
    return data


def test_clips_of_one_recording_stay_together(folder: Path, tmp_path: Path) -> None:
    found = collect(find_clips(folder), 0.25)
    assert found.divided
    assert found.notes[0].startswith("clips of one recording stay together")
    held = {clip.group for clip in found.of("validation")}
    assert len(held) == 2
    assert not held & {clip.group for clip in found.of("train")}
    assert len(found.of("validation")) == 6

    listed = find_clips(folder)
    table = tmp_path / "clips.csv"
    rows = [f"{c.path},{c.label},{'ab'[i % 2]}" for i, c in enumerate(listed)]
    table.write_text("\n".join(["path,label,group", *rows]), "utf-8")
    named = collect(find_clips(table), 0.25)
    assert not {c.group for c in named.of("train")} & {c.group for c in named.of("validation")}


def test_a_split_of_the_data_that_cuts_a_recording(folder: Path) -> None:
    """Named by the user it is an error; guessed from file names it is said."""
    sides = ["train", "validation", "train"]
    listed = [
        LabelledClip(c.path, c.label, sides[i % 3], group=None)
        for i, c in enumerate(find_clips(folder))
    ]
    found = collect(listed, 0.25)
    assert "are on both sides of the split that the data gives" in found.notes[0]
    with pytest.raises(UsageError, match="clips of one recording, g01, are on both sides"):
        collect(listed, 0.25, group=r"_(g\d+)_")


def test_fingerprints_are_of_the_content(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one, other = tmp_path / "one", tmp_path / "other"
    for size in (0, 10, 70_000, 200_000):
        raw = rng.bytes(size)
        one.write_bytes(raw)
        other.write_bytes(raw)
        assert fingerprint(one) == fingerprint(other)
        other.write_bytes(raw + b"x")
        assert fingerprint(one) != fingerprint(other)
    (tmp_path / "images").mkdir()
    (tmp_path / "images/1.png").write_bytes(b"x")
    before = fingerprint(tmp_path / "images")
    (tmp_path / "images/2.png").write_bytes(b"x")
    assert fingerprint(tmp_path / "images") != before
    before = fingerprint(tmp_path / "images")
    (tmp_path / "images/2.png").write_bytes(b"y")  # another picture of that name and size
    assert fingerprint(tmp_path / "images") != before


@given(st.sets(st.integers(0, 2**32 - 1), max_size=50))
def test_fingerprints_travel_as_text(values: set[int]) -> None:
    assert unpacked(packed(values)) == values


def test_text_that_is_no_list_of_fingerprints() -> None:
    for text in ("?", "AAA", "AAAAAAA="):
        with pytest.raises(UsageError, match="training clips in the model's file is damaged"):
            unpacked(text)


def test_accuracy_counts_only_what_training_did_not_see(folder: Path, tmp_path: Path) -> None:
    """The whole road: train on a folder, export, judge by the same folder under other names."""
    trained, model = tmp_path / "mine.keras", tmp_path / "mine.tflite"

    def movinet(*words: object) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([*MOVINET, *map(str, words)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done

    options: list[object] = ["-m", "t0-stream", "-w", "random:0", "--resolution", 32]
    options += ["--frames", 4, "--epochs", 1, "--freeze", 1, "--lead-in", 0]
    done = movinet("train", folder, "-o", trained, *options, "--validation", "0.25")
    assert "clips of one recording stay together" in done.stderr
    movinet("export", "t0-stream", "-q", "float32", "-w", trained, "-o", model)
    renamed = tmp_path / "renamed"
    for i, path in enumerate(sorted(folder.rglob("*.mp4"))):
        (renamed / path.parent.name).mkdir(parents=True, exist_ok=True)
        (renamed / path.parent.name / f"{i}.mp4").write_bytes(path.read_bytes())
    for data in (folder, renamed):
        done = movinet("accuracy", model, "--data", data, "--json")
        assert "18 of 24 clips were trained on: left out" in done.stderr
        assert json.loads(done.stdout)[0]["clips"] == 6
    table = tmp_path / "mine.report" / "split.csv"
    done = movinet("accuracy", model, "--data", table, "--json")
    assert json.loads(done.stdout)[0]["clips"] == 6
    assert "left out" not in done.stderr
    again = collect(find_clips(table), 0.5)
    assert len(again.of("validation")) == 6
    assert not again.divided
