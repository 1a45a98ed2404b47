"""movinet train: what it reads, what it refuses, and that a killed training loses nothing."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from movinet_convert import flatbuffer, stream_graph
from movinet_convert.network import load_into_network
from movinet_convert.parameters import random_weights
from movinet_convert.quantize.calibration import moving_noise
from movinet_convert.training.batches import Batches
from movinet_convert.training.reading import Augmentation
from movinet_convert.training.report import confusion_matrix, scores
from movinet_convert.training.validation import Answers
from movinet_models.clips import LabelledClip, collect, find_clips
from movinet_models.family import lookup
from movinet_models.figures import LABELS, clips, render
from movinet_runtime import StreamClassifier, open_frames
from movinet_runtime.errors import UsageError
from movinet_runtime.outputs.video import save_frames

ODD = ["shaking hands [both]", "d\u00e9j\u00e0 vu, again & again", "\u6b66\u8853"]
MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes with odd names, eight short clips of each."""
    folder = tmp_path_factory.mktemp("clips")
    for i, clip in enumerate(clips("train", 8 * len(LABELS))):
        which = LABELS.index(clip.label)
        if which < len(ODD):
            (folder / ODD[which]).mkdir(exist_ok=True)
            path = folder / ODD[which] / f"{i}.mp4"
            save_frames(path, render(clip, frames=4 + i % 3, side=48), 5)
    return folder


def test_folders_and_tables(data: Path, tmp_path: Path) -> None:
    found = find_clips(data)
    assert len(found) == 24
    assert {clip.label for clip in found} == set(ODD)
    table = tmp_path / "clips.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "label", "split"])
        rows.writerows([clip.path, clip.label, ""] for clip in found)
    assert [(c.path, c.label) for c in find_clips(table)] == [(c.path, c.label) for c in found]
    table.write_text("path,label,split\na.mp4,a,dev\n", "utf-8")
    with pytest.raises(UsageError, match="line 2: split is train, validation, test, not 'dev'"):
        find_clips(table)
    table.write_text("file,class\nx,y\n", "utf-8")
    with pytest.raises(UsageError, match="needs the columns path and label"):
        find_clips(table)


def test_validation_is_kept_back_by_file_and_the_same_every_time(data: Path) -> None:
    found = collect(find_clips(data), validation=0.25)
    assert found.labels == sorted(ODD)
    for label in ODD:
        assert sum(clip.label == label for clip in found.of("validation")) == 2
    assert not {c.path for c in found.of("train")} & {c.path for c in found.of("validation")}
    assert found == collect(find_clips(data), validation=0.25)


def test_bad_data(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        find_clips(tmp_path / "gone")
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "clip.mp4").write_bytes(b"")
    with pytest.raises(UsageError, match="has 1 classes; at least two"):
        find_clips(tmp_path)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError, match="no clips in nothing"):
        find_clips(tmp_path)

    good = find_clips(data)
    broken = LabelledClip(tmp_path / "only" / "clip.mp4", good[0].label)
    found = collect([broken, *good], validation=0.25)
    assert len(found.clips) == len(good)
    assert len(found.skipped) == 1
    assert "clip.mp4" in found.skipped[0]
    with pytest.raises(UsageError, match="no clip of other can be read"):
        collect([*good, LabelledClip(broken.path, "other")], validation=0.25)


def test_batches(data: Path) -> None:
    found = collect(find_clips(data), validation=0.25)
    labels = found.labels

    def batches(**more: object) -> Batches:
        return Batches(found.of("train"), labels, 5.0, 8, 32, 4, **more)  # type: ignore[arg-type]

    plain = batches()
    video, truth, weights = plain[0]
    assert (video.shape, truth.shape, weights.shape) == ((4, 8, 32, 32, 3), (4, 8, 3), (4, 8))
    assert video.dtype == np.uint8
    last = weights.argmax(axis=1)
    assert set(last) <= {3, 4, 5}  # clips are 4 to 6 frames long
    np.testing.assert_array_equal(weights.sum(axis=1), 1)
    np.testing.assert_array_equal(video[0, last[0]], video[0, 7])

    varied = batches(augmentation=Augmentation(), seed=3)
    first = varied[1]
    np.testing.assert_array_equal(first[0], varied[1][0])
    np.testing.assert_allclose(first[2].sum(axis=1), 8, rtol=1e-5)
    varied.epoch = 1
    assert not np.array_equal(first[0], varied[1][0])


def test_a_lead_in_is_another_clip_or_the_same_and_does_not_count(data: Path) -> None:
    found = collect(find_clips(data), validation=0.25)
    train = found.of("train")[:4]
    plain = Batches(train, found.labels, 5.0, 6, 32, 4, augmentation=Augmentation())
    led = Batches(train, found.labels, 5.0, 6, 32, 4, augmentation=Augmentation(), lead_in=5)
    for epoch, clips_before in ((0, None), (1, 0), (2, 1), (3, 1), (4, None)):
        plain.epoch = led.epoch = epoch
        (video, truth, weights), (longer, truths, counted) = plain[0], led[0]
        np.testing.assert_array_equal(longer[:, -6:], video)
        np.testing.assert_array_equal(counted, weights)
        np.testing.assert_array_equal(truths, truth)
        assert longer.shape[1] == (6 if clips_before is None else 11)
        if clips_before is not None:
            np.testing.assert_array_equal(longer[:, :5], np.roll(video, clips_before, 0)[:, :5])


def test_training_bounds_averages_as_the_runtime_does(stream_model: Path) -> None:
    """20 frames at a horizon of 6: the network at once, the file frame by frame."""
    spec = lookup("a0-stream").at(64)
    network = load_into_network(spec, random_weights(spec, 12))
    frames = list(moving_noise((64, 64), 20))
    at_once = network.stream(np.stack(frames)[None] / np.float32(255), horizon=6)[0].numpy()[0]
    runtime = StreamClassifier(stream_model, horizon=6)
    by_frame = np.stack([runtime.step(frame).logits for frame in frames])
    np.testing.assert_allclose(by_frame, at_once, atol=1e-4 * np.ptp(at_once))
    unbounded = network.stream(np.stack(frames)[None] / np.float32(255))[0].numpy()[0]
    assert np.abs(unbounded[-1] - at_once[-1]).max() > 1e-3 * np.ptp(at_once)


def test_precision_and_recall() -> None:
    shown, found = np.eye(3, dtype=bool)[[0, 0, 0, 1, 1]], np.eye(3)[[0, 0, 1, 1, 1]]
    answers = Answers(shown, found.astype(np.float32))
    assert confusion_matrix(answers).tolist() == [[2, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert answers.top1() == pytest.approx(0.8)
    rows = scores(answers, ["a", "b", "c"])
    assert [(s.precision, s.recall) for s in rows] == [(1.0, 0.6667), (0.6667, 1.0), (None, None)]


def test_train_kill_resume_export_run(data: Path, tmp_path: Path) -> None:
    """The whole road, in processes as a user starts them."""
    output = tmp_path / "mine.keras"
    command = [*MOVINET, "train", str(data), "-o", str(output), "-m", "t0-stream", "-w", "none"]
    options = ["--resolution", "32", "--frames", "4", "--batch", "6", "--epochs", "3", "--json"]
    options += ["--rate", "2e-3", "--final-rate", "0.3", "--lead-in", "0"]
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    checkpoint = tmp_path / "mine.checkpoint.npz"
    kept = subprocess.run([*command, "--keep-statistics"], capture_output=True, text=True)
    assert kept.returncode == 2
    assert "--keep-statistics is for weights that have some" in kept.stderr
    started = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    )
    while not checkpoint.exists():
        assert started.poll() is None, started.stdout.read() if started.stdout else ""
        time.sleep(0.05)
    started.send_signal(signal.SIGKILL)
    started.communicate()
    assert not output.exists()

    again = subprocess.run([*command, *options], capture_output=True, text=True, env=env)
    assert again.returncode == 2
    assert "add --resume" in again.stderr
    other = subprocess.run(
        [*command, *options, "--resume", "--rate", "0.1"], capture_output=True, text=True, env=env
    )
    assert other.returncode == 2
    assert "plan rate was 0.002, is 0.1" in other.stderr
    done = subprocess.run([*command, *options, "--resume"], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/3" not in done.stderr
    assert "[both]" in done.stderr
    report = json.loads(done.stdout)
    assert len(report["epochs"]) == 3
    assert report["epochs"][-1]["rate"] == pytest.approx(0.3 * 2e-3)
    assert [row["label"] for row in report["classes"]] == sorted(ODD)
    assert {path.name for path in (tmp_path / "mine.report").iterdir()} == {
        "report.json",
        "confusion.png",
        "curves.png",
        "epochs.csv",
        "split.csv",
        "tensorboard",
    }
    assert not checkpoint.exists()

    model = tmp_path / "mine.tflite"
    export = [*MOVINET, "export", "t0-stream", "-q", "float32", "-w", str(output), "-o", str(model)]
    exported = subprocess.run(export, capture_output=True, text=True)
    assert exported.returncode == 0, exported.stderr
    classifier = StreamClassifier(model)
    assert list(classifier.labels) == sorted(ODD)
    assert classifier.size == (32, 32)


def test_a_published_file_is_a_start(data: Path, tmp_path: Path) -> None:
    """The network without squeeze-excitation learns from a .tflite on, and exports again."""
    spec = lookup("a0lite-stream").at(32)
    start = tmp_path / "start.tflite"
    weights = random_weights(spec, 600)
    start.write_bytes(flatbuffer.serialize(stream_graph.build(spec, weights), spec.id, {}))
    trained, exported = tmp_path / "mine.keras", tmp_path / "mine.tflite"
    options = ["--epochs", "1", "--freeze", "0", "--frames", "4", "--resolution", "32"]
    options += ["--lead-in", "0"]
    words = ["train", data, "-o", trained, "-m", spec.id, "-w", start, *options]
    done = subprocess.run([*MOVINET, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = ["export", spec.id, "-w", trained, "-o", exported, "-q", "int8", "--long-frames", 20]
    words += ["--calibrate", data / ODD[0]]
    done = subprocess.run([*MOVINET, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    classifier = StreamClassifier(exported)
    assert set(classifier.labels) == set(ODD)
    assert {s.dtype.name for n, s in classifier.state.items() if "buffer" in n} == {
        "int8",
        "float32",  # the head's mean
    }


def test_trained_features_know_real_clips_at_once(shared: Path, tmp_path: Path) -> None:
    """docs/training.md: from Google's int8 network, the classifier alone, an epoch on pieces of
    four real clips. Pieces of one recording are on both sides: a smoke test, no accuracy."""
    names = ["arm_wrestling.mp4", "carving_ice.mp4", "cleaning_pool.mp4", "jumpingjack.gif"]
    for name in names:
        folder = tmp_path / "clips" / Path(name).stem
        folder.mkdir(parents=True)
        frames = [frame.image for frame in open_frames(shared / "clips" / name).sampled(5.0)]
        frames = frames * math.ceil(32 / len(frames))
        for i in range(min(8, len(frames) // 4)):
            save_frames(folder / f"{i}.mp4", frames[4 * i : 4 * i + 4], 5.0)
    words: list[object] = ["train", tmp_path / "clips", "-o", tmp_path / "mine.keras", "--json"]
    words += ["-m", "a0lite-stream", "-w", shared / "published/movinet_a0_stream_int8.tflite"]
    words += ["--resolution", 96, "--frames", 4, "--lead-in", 0, "--epochs", 3, "--freeze", 3]
    words += ["--batch", 4, "--rate", "3e-3"]
    done = subprocess.run([*MOVINET, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["validation_accuracy"] >= 0.75  # a guess is 0.25
