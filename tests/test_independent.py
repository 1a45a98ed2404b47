"""Classes that do not exclude each other: from a table over training to events."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from movinet_benchmarks.fidelity import measures_of
from movinet_convert.training.report import scores
from movinet_convert.training.validation import Answers
from movinet_models.clips import collect, find_clips
from movinet_models.figures import LABELS, clips, render
from movinet_runtime import Prediction, StreamModel, events, smoothed
from movinet_runtime.description import parsed
from movinet_runtime.errors import UsageError
from movinet_runtime.outputs.video import save_frames

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]
ABOUT = {
    "version": 1, "model": "a0-stream", "variant": "int8", "classes": 2, "fps": 5,
    "weights": {"source": "x"},
}  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips that show an action, in the left half of the picture or not; some show neither."""
    folder = tmp_path_factory.mktemp("several")
    lines = ["path,labels"]
    for i, clip in enumerate(clips("train", 12 * len(LABELS))):
        if clip.label in ("clapping", "nothing"):
            frames = render(clip, frames=5, side=48)
            dark = i % 2 == 0
            shown = [frame // np.uint8(4 if dark else 1) for frame in frames]
            save_frames(folder / f"{i}.mp4", shown, 5)
            names = ["clapping"] * (clip.label == "clapping") + ["dark"] * dark
            lines.append(f"{i}.mp4,{' ; '.join(names)}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder / "clips.csv"


def test_a_table_of_several_labels(table: Path, tmp_path: Path) -> None:
    found = find_clips(table)
    assert {clip.labels for clip in found} == {
        ("clapping",), ("dark",), ("clapping", "dark"), (),
    }  # fmt: skip
    collection = collect(found, 0.3)
    assert collection.independent
    assert collection.labels == ["clapping", "dark"]
    (tmp_path / "split.csv").write_text(collection.table(), "utf-8")
    again = find_clips(tmp_path / "split.csv")
    assert [(c.labels, c.split) for c in again] == [(c.labels, c.split) for c in collection.clips]
    (tmp_path / "no.csv").write_text("path,name\na.mp4,b\n", "utf-8")
    with pytest.raises(UsageError, match="needs the columns path and label, or path and labels"):
        find_clips(tmp_path / "no.csv")
    (tmp_path / "both.csv").write_text("path,label,labels\na.mp4,b,\n", "utf-8")
    with pytest.raises(UsageError, match="has both columns label and labels"):
        find_clips(tmp_path / "both.csv")


def test_each_class_has_its_share_on_both_sides(table: Path) -> None:
    """Also one that occurs only beside rarer ones."""
    clips = [clip for clip in find_clips(table) if clip.labels][:9]
    names = [("x", "a"), ("x", "a"), ("x", "b"), ("x", "b"), ("x", "c"), ("x", "c"), (), (), ("a",)]
    for seed in range(30):
        listed = [
            replace(clip, label=shown[0] if shown else "", more=shown[1:])
            for clip, shown in zip(clips, names, strict=True)
        ]
        found = collect(listed, 0.3, seed)
        for split in ("train", "validation"):
            assert {label for clip in found.of(split) for label in clip.labels} == {*"abcx"}


def test_one_class_is_compared_as_well() -> None:
    found = measures_of(np.array([[1.0], [2.0]]), np.array([[1.0], [2.1]]))
    assert (found.agreement, found.decided) == (1.0, 1.0)


def test_figures_of_independent_classes() -> None:
    """By hand; average precision as scikit-learn's documentation defines it."""
    truth = np.array([[1, 1], [0, 1], [1, 0], [0, 0]], bool)
    logits = np.array([[2.0, 1.0], [1.0, 3.0], [0.0, -1.0], [-3.0, -2.0]], np.float32)
    answers = Answers(truth, logits, independent=True)
    assert answers.top1() == 1.0  # of the three that show anything
    assert answers.average_precisions() == [pytest.approx((1 + 2 / 3) / 2), 1.0]
    assert answers.mean_average_precision() == pytest.approx((1 + (1 + 2 / 3) / 2) / 2)
    entropy = np.where(truth, np.log1p(np.exp(-logits)), np.log1p(np.exp(logits)))
    assert answers.loss() == pytest.approx(float(entropy.mean()), rel=1e-6)
    # F1 is best with three answers for the first class (0.8), with two for the second (1).
    sigmoid = 1 / (1 + np.exp(-np.array([-1.5, 0.0])))
    assert answers.thresholds() == pytest.approx(sigmoid.tolist(), abs=1e-4)
    rows = scores(answers, ["a", "b"], answers.thresholds())
    assert [(row.precision, row.recall) for row in rows] == [(0.6667, 1.0), (1.0, 1.0)]
    assert Answers(truth | True, logits, independent=True).thresholds() == [0.5, 0.5]


def predictions(probabilities: list[list[float]], thresholds: list[float]) -> list[Prediction]:
    p = np.array(probabilities, np.float32)
    logits = np.log(p / (1 - p))
    return [Prediction(i, x, ["a", "b"], i / 5, thresholds) for i, x in enumerate(logits)]


def test_each_class_has_a_probability_and_a_threshold_of_its_own() -> None:
    stream = predictions([[0.9, 0.4]] * 5 + [[0.9, 0.1]] * 5, [0.95, 0.3])
    np.testing.assert_allclose(stream[0].probabilities, [0.9, 0.4], rtol=1e-5)
    kept = list(smoothed(stream, mean=1))
    np.testing.assert_allclose(kept[0].probabilities, [0.9, 0.4], rtol=1e-5)
    found = [(event.kind, event.label, event.time) for event in events(stream)]
    assert found == [("start", "b", 0.0), ("end", "b", 1.0)]
    asked = [(event.kind, event.label) for event in events(stream, on=0.8)]
    assert asked == [("start", "a"), ("end", "a")]
    with pytest.raises(UsageError, match=r"not off 0\.5 and on 0\.3"):
        list(events(stream, off=0.5))
    high = predictions([[0.9, 0.1]] * 5, [0.8, 0.8])
    assert [event.kind for event in events(high, off=0.6)] == ["start", "end"]
    huge = Prediction(0, np.array([1000.0, -1000.0], np.float32), ["a", "b"], 0.0, [0.5, 0.5])
    assert huge.probabilities.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("value", [[0.5], [0.5, 0], [0.5, True], [0.5, "1"], 0.5, [0.5, 1.5]])
def test_damaged_thresholds_are_one_line(value: object) -> None:
    assert parsed(json.dumps(ABOUT | {"thresholds": [0.5, 1]}).encode())[1].thresholds == (0.5, 1)
    with pytest.raises(ValueError, match="thresholds"):
        parsed(json.dumps(ABOUT | {"thresholds": value}).encode())


@pytest.mark.parametrize(
    "value", [[20], 20, {"nothing": 0}, {"nothing": True}, {"nothing": "2"}, {"\ud800": 2}]
)
def test_a_damaged_prior_is_one_line(value: object) -> None:
    assert parsed(json.dumps(ABOUT | {"prior": {"nothing": 20}}).encode())[1].prior
    with pytest.raises(ValueError, match="prior"):
        parsed(json.dumps(ABOUT | {"prior": value}).encode())


def test_from_a_table_to_events(table: Path, tmp_path: Path) -> None:
    options = ["-m", "a0lite-stream", "-w", "none", "--resolution", 32, "--frames", 4]
    options += ["--epochs", 8, "--rate", "3e-3"]
    said = run("train", table, "-o", tmp_path / "m.keras", *options, "--validation", 0.3, "--json")
    report = json.loads(said)
    assert report["best"] == "stream"
    assert "confusion" not in report
    assert {row["label"] for row in report["classes"]} == {"clapping", "dark"}
    dark = next(row for row in report["classes"] if row["label"] == "dark")
    assert dark["average_precision"] > 0.9
    export = ["export", "a0lite-stream", "-w", tmp_path / "m.keras", "-q", "float32"]
    run(*export, "-o", tmp_path / "m.tflite", "--long-frames", 8)
    model = StreamModel(tmp_path / "m.tflite")
    assert list(model.thresholds or ()) == [row["threshold"] for row in report["classes"]]
    assert "independent: each is an answer from" in run("inspect", tmp_path / "m.tflite")
    shown = next(clip for clip in find_clips(table) if clip.labels == ("dark",))
    lines = run("run", shown.path, "-m", tmp_path / "m.tflite", "--json").splitlines()
    top = {row["label"]: row["probability"] for row in json.loads(lines[-1])["top"]}
    assert sum(top.values()) != pytest.approx(1, abs=1e-3)
    found = run("run", shown.path, "-m", tmp_path / "m.tflite", "--events", "--json")
    assert any(json.loads(line)["label"] == "dark" for line in found.splitlines())
    judged = json.loads(run("accuracy", tmp_path / "m.tflite", "--data", table, "--json"))
    assert judged[0]["clips"] > 0


def run(*arguments: object) -> str:
    done = subprocess.run([*MOVINET, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout
