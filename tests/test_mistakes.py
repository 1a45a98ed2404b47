"""The trial of common mistakes, and the table of docs/preprocessing.md."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from movinet_benchmarks.mistakes import MISTAKES, Outcome, drawn, outcome_table, trial
from movinet_models import embedded
from movinet_runtime import StreamClassifier, StreamModel, open_frames, prepare, read_labels

DOCUMENT = Path(__file__).parents[1] / "docs/preprocessing.md"
CLIPS = {
    "carving_ice.mp4": "carving ice",
    "jumpingjack.gif": "jumping jacks",
    "arm_wrestling.mp4": "arm wrestling",
    "cleaning_pool.mp4": "cleaning pool",
}
# Of a probability in the table: engines and CPUs round differently.
TOLERANCE = 0.05


def test_without_a_mistake_it_is_the_runtime() -> None:
    model = StreamModel(embedded.MODEL)
    ((source, label),) = drawn(1)
    outcomes = trial(model, [(source, label)])
    assert [outcome.mistake for outcome in outcomes] == [mistake.name for mistake in MISTAKES]
    classifier = StreamClassifier(model)
    for frame in source.sampled(model.fps):
        prediction = classifier.step(frame.image)
    expected = prediction.probabilities[model.labels.index(label)]
    assert outcomes[0].probabilities == pytest.approx([expected], abs=1e-3)
    assert outcomes[0].right == 1
    assert len({round(outcome.probabilities[0], 6) for outcome in outcomes}) > 8


def test_what_is_seen_with_each_mistake() -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    size = (48, 48)
    right = prepare(image, size)
    seen = {mistake.name: mistake.see(image, size) for mistake in MISTAKES}
    assert {(picture.shape, picture.dtype) for picture in seen.values()} == {
        ((48, 48, 3), np.dtype("float32"))
    }
    np.testing.assert_array_equal(seen["none"], right)
    np.testing.assert_array_equal(seen["BGR"][..., 0], right[..., 2])
    np.testing.assert_array_equal(seen["mirrored"][:, 0], right[:, -1])
    np.testing.assert_allclose(seen["range [-1, 1]"], right * 2 - 1)
    np.testing.assert_allclose(seen["range 0 to 255"], right * 255)
    for name in ("nearest pixel", "bilinear, not antialiased", "as published"):
        assert seen[name].std() > 1.1 * right.std()  # noise that antialiasing averages
    assert (seen["padded with black"][0] == 0).all()


def test_the_command() -> None:
    command = [sys.executable, "-m", "movinet_benchmarks.mistakes", "--drawn", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["mistake"] for row in rows] == [mistake.name for mistake in MISTAKES]
    table = outcome_table([Outcome("none", ["a"], [0.5], 1)])
    assert [column.header for column in table.columns][-1] == "a"
    done = subprocess.run([*command, "--data", "gone"], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (2, "movinet: gone does not exist\n")


def test_the_documents_table_is_what_is_measured(shared: Path) -> None:
    labels = read_labels(shared / "reference/kinetics600_labels.txt")
    model = StreamModel(shared / "published/movinet_a0_stream_int8.tflite", labels=labels)
    shown = [(open_frames(shared / "clips" / name), label) for name, label in CLIPS.items()]
    rows = re.findall(r"^\| ([^|]+) \| (\d) of 4 \| ([^|]+) \|", DOCUMENT.read_text("utf-8"), re.M)
    written = {name.strip(): (int(right), values.split()) for name, right, values in rows}
    outcomes = trial(model, shown)
    assert list(written) == [outcome.mistake for outcome in outcomes]
    for outcome in outcomes:
        right, values = written[outcome.mistake]
        assert outcome.right == right, outcome.mistake
        found = pytest.approx([float(value) for value in values], abs=TOLERANCE)
        assert outcome.probabilities == found, outcome.mistake
