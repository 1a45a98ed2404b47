"""The embedded model: there without a download, small, true, and carried by its states."""

import csv
import json
import re
import runpy
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from movinet_benchmarks.accuracy import MODES, interval, judges
from movinet_convert.sources import load_weights
from movinet_convert.sources.keras import save_npz
from movinet_models import embedded
from movinet_models.errors import WeightsError
from movinet_models.family import lookup
from movinet_models.figures import ACTIONS, LABELS, NOTHING, clips, render
from movinet_models.figures.actions import REVERSED_PAIRS
from movinet_models.figures.scene import Scene
from movinet_runtime import StreamClassifier, StreamModel
from movinet_runtime.errors import LabelsError
from movinet_runtime.model_file import ModelFile
from movinet_runtime.outputs.video import save_frames

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]
SPEC = lookup("a0-stream")
CARD = (embedded.FOLDER / "README.md").read_text("utf-8")
ROW = re.compile(r"\| ([\w-]+) \| (\w+) \| (\d+) \| ([\d.]+)% \| .* \| ([\d.]+)% \|")


@pytest.fixture(scope="module")
def model() -> StreamModel:
    return StreamModel(embedded.MODEL)


def movinet(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*MOVINET, *map(str, arguments)], capture_output=True, text=True, timeout=300
    )


def figure(label: str, frames: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return list(Scene.random(rng, 96).frames([(ACTIONS[label], frames / 5)], 5.0, rng))


def test_it_is_small_and_whole() -> None:
    assert embedded.WEIGHTS.stat().st_size <= 6e6
    loaded = load_weights("embedded", SPEC)
    about = ModelFile.read(embedded.MODEL).metadata
    assert loaded.labels == about["labels"] == LABELS
    assert about["weights"]["sha256"] == loaded.sha256
    assert about["weights"]["licence"] == loaded.licence == "Apache-2.0"
    assert about["prior"] == loaded.prior == {NOTHING: 20}
    assert about["resolution"] == loaded.resolution == 96
    assert (about["horizon"], about["clip_frames"]) == (loaded.horizon, loaded.clip_frames)


def test_run_needs_no_model(tmp_path: Path) -> None:
    clip = tmp_path / "clip.gif"
    save_frames(clip, figure("jumping jacks", 20, 5), 5.0)
    done = movinet("run", clip, "--json")
    assert done.returncode == 0, done.stderr
    final = json.loads(done.stdout.splitlines()[-1])
    assert final["top"][0]["label"] == "jumping jacks"


def test_it_tells_clips_apart_by_their_order(model: StreamModel) -> None:
    """A small version of the card's table, on clips of the test split."""
    pairs = {*REVERSED_PAIRS, *REVERSED_PAIRS.values()}
    found = {judge.mode: judge for judge in judges([model], LABELS, list(MODES))}
    for clip in clips("test", 20 * len(LABELS)):
        video = render(clip, side=96)
        for judge in found.values():
            judge.show(video, [clip.label])
    chosen = [i for i, label in enumerate(LABELS) if label in pairs]

    def share(mode: str, classes: list[int] | None = None) -> float:
        right, count = found[mode].score.of(classes)
        return right / count

    assert share("clips") >= 0.95
    assert share("clips", chosen) >= 0.92
    for mode in ("single", "shuffled"):
        low, high = interval(*found[mode].score.of(chosen))
        assert low < 0.5 < high or high < 0.6, mode
    assert share("stream") >= 0.9


def test_the_card_says_what_was_asked_for() -> None:
    rows = {(m[1], m[2]): (int(m[3]), float(m[4]), float(m[5])) for m in ROW.finditer(CARD)}
    variants = ("float32", "float16", "half", "dynamic", "dynamic-si8")
    assert set(rows) == {
        *((variant, mode) for variant in variants for mode in ("clips", "stream")),
        *(("float32", mode) for mode in MODES),
    }
    clip_count, top1, pairs = rows["float32", "clips"]
    assert clip_count >= 2000
    assert top1 >= 95
    assert pairs >= 92
    for mode in ("clips", "stream"):
        for variant, points in (("float16", 0.2), ("dynamic", 0.2), ("dynamic-si8", 0.5)):
            assert abs(rows[variant, mode][1] - rows["float32", mode][1]) <= points, variant
    for mode in ("shuffled", "single"):
        assert rows["float32", mode][2] <= 60


def test_its_streams_are_trained_on_every_nothing() -> None:
    recipe = runpy.run_path(str(Path(__file__).parents[1] / "models/train_embedded.py"))
    rows = list(csv.DictReader(recipe["few"]().splitlines()))
    total, first = recipe["CLIPS"], recipe["FEW_CLIPS"]
    assert Counter(row["split"] for row in rows)["validation"] == total["validation"]
    listed = {row["path"] for row in rows if row["split"] == "train"}
    wanted = [c for c in clips("train", total["train"]) if c.index < first or c.label == NOTHING]
    assert listed == {f"figures/train/{c.label}/{c.index:05}.mp4" for c in wanted}
    assert len(wanted) > first


def test_an_endless_stream_still_reacts(model: StreamModel) -> None:
    """5,000 frames of one action, then another: within two horizons, or not at all."""
    before, after = figure("jumping jacks", 100, 5), figure("squat", 2 * 50, 8)
    bounded, unbounded = model.stream(), model.stream(horizon=0)
    window = 2 * bounded.horizon
    for i in range(5000):
        for stream in (bounded, unbounded):
            seen = stream.step(before[i % len(before)])
    assert seen.top()[0][0] == "jumping jacks"
    changed = [
        [stream.step(frame).top()[0][0] for frame in after[:window]]
        for stream in (bounded, unbounded)
    ]
    assert changed[0][-1] == "squat"
    assert "squat" not in changed[1]


def test_weights_in_half_the_size_come_back(tmp_path: Path) -> None:
    loaded = load_weights("embedded", SPEC)
    save_npz(loaded, tmp_path / "again.npz")
    again = load_weights(str(tmp_path / "again.npz"), SPEC)
    assert (again.labels, again.clip_frames) == (loaded.labels, loaded.clip_frames)
    for name, tensor in loaded.weights.items():
        np.testing.assert_array_equal(again.weights[name], tensor)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "again.npz").read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"cannot read .*cut\.npz"):
        load_weights(str(tmp_path / "cut.npz"), SPEC)


def test_accuracy_of_a_folder(tmp_path: Path) -> None:
    for i, label in enumerate(("squat", "clapping")):
        (tmp_path / "data" / label).mkdir(parents=True)
        save_frames(tmp_path / "data" / label / "a.gif", figure(label, 16, 30 + i), 5.0)
    (tmp_path / "data/squat/broken.mp4").write_bytes(b"no video")
    done = movinet("accuracy", embedded.MODEL, "--data", tmp_path / "data", "--json")
    assert done.returncode == 0, done.stderr
    assert "broken.mp4" in done.stderr
    (row,) = json.loads(done.stdout)
    assert row["clips"] == np.array(row["confusion"]).sum() == 2
    done = movinet("accuracy", embedded.MODEL, "--data", tmp_path / "data", "--mode", "backwards")
    assert (done.returncode, "clips, stream, shuffled, single" in done.stderr) == (2, True)


def test_a_judge_needs_the_labels(model: StreamModel) -> None:
    with pytest.raises(LabelsError, match="does not know 'ironing'"):
        judges([model], ["ironing"], ["clips"])


def test_it_takes_a_model_of_ones_own_just_as_well(stream_model: Path) -> None:
    assert StreamClassifier(stream_model).horizon == SPEC.architecture.frames
