"""Outputs of movinet run: formats, limits, memory, full disks."""

import gc
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from movinet_runtime import Prediction, Selection, StreamClassifier, open_frames
from movinet_runtime.errors import MovinetError, OutputError
from movinet_runtime.outputs import animation, video
from movinet_runtime.outputs.curve import ROWS, Curve
from movinet_runtime.outputs.lines import csv_lines
from movinet_runtime.outputs.output import Output, Sink
from movinet_runtime.outputs.overlay import LONGEST_WINDOW, WINDOW, Overlay
from movinet_runtime.outputs.plot import plotted
from movinet_runtime.outputs.state import saved_state
from movinet_runtime.outputs.video import frame_writer, labelled_video, save_frames
from movinet_runtime.sources.frame import Frame
from tests.small import LABELS, SIDE, small_model

GREY = np.full((48, 64, 3), 90, np.uint8)


def prediction(index: int) -> Prediction:
    return Prediction(index, np.array([index % 3, 1, 0], np.float32), LABELS, index / 5)


def silent(_: str) -> None:
    pass


@pytest.mark.parametrize(
    "name", ["a.webm", "a.wav", "a.jpg", "a.ogg", "a.mp3", "a.png", "a.xyz", "a"]
)
def test_what_is_no_video_is_refused_before_the_first_frame(tmp_path: Path, name: str) -> None:
    for opened in (
        frame_writer(tmp_path / name, 5),
        labelled_video(tmp_path / name, Selection(), 5, 3, silent),
    ):
        with pytest.raises(OutputError, match=r"try \.mp4 or \.gif"), opened:
            pytest.fail("it was opened")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.mp4", "a.m4v", "a.mkv", "a.mov", "a.gif", "a.webp"])
def test_every_format_that_is_offered_can_be_read(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3), np.uint8)
    save_frames(tmp_path / name, noise, 5)
    found = list(open_frames(tmp_path / name))
    assert len(found) == 6
    assert found[0].image.shape == (48, 64, 3)


def test_no_picture_format_is_refused_before_the_first_frame(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"no picture is named \*\.xyz"),
        plotted(tmp_path / "a.xyz", Selection()),
    ):
        pytest.fail("it was opened")


@pytest.mark.parametrize("total", [None, 100])
def test_the_limit_of_an_animation_is_said_in_advance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: int | None
) -> None:
    monkeypatch.setattr(animation, "LONGEST_ANIMATION", 5)
    monkeypatch.setattr(video, "LONGEST_ANIMATION", 5)
    said: list[str] = []
    path = tmp_path / "a.gif"
    with labelled_video(path, Selection(), 5, total, said.append) as sink:
        assert said == [f"{path} will hold the first 5 frames; .mp4 holds all"]
        for i in range(8):
            sink(Frame(GREY, i / 5), prediction(i))
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 5
    for silent_one in (tmp_path / "short.gif", tmp_path / "a.mp4"):
        with labelled_video(silent_one, Selection(), 5, 5, said.append) as sink:
            sink(Frame(GREY, 0.0), prediction(0))
    assert len(said) == 1
    with pytest.raises(OutputError, match="the most of an animation"):
        save_frames(path, [GREY] * 6, 5)


def test_curves_of_a_stream_stay_in_a_window() -> None:
    for total, room in ((None, WINDOW), (10**7, LONGEST_WINDOW), (90, 90)):
        overlay = Overlay(width=60, total=total)
        for i in range(max(2 * WINDOW, 30)):
            overlay.draw(GREY[:6, :8], prediction(i))
        assert len(overlay._probabilities) == min(room, 2 * WINDOW)
        assert overlay._probabilities.maxlen == room


def test_a_course_stays_bounded_and_keeps_its_peaks() -> None:
    curve = Curve()
    for i in range(100_000):
        curve.add(np.array([0.9 if i == 77_777 else 0.1, i / 1e5], np.float32), i / 5)
        assert len(curve) <= ROWS
    values = curve.values
    assert len(curve) >= ROWS // 2
    assert values[:, 0].max() == np.float32(0.9)
    at = curve.times[int(values[:, 0].argmax())]
    assert at == pytest.approx(77_777 / 5, abs=64 / 5)
    assert list(curve.times) == sorted(curve.times)
    assert curve.times[0] == 0
    assert values[-1, 1] == pytest.approx(1, abs=1e-3)
    short = Curve()
    for i in range(10):
        short.add(np.array([i], np.float32), i / 5)
    assert short.values[:, 0].tolist() == list(range(10))


def traced(sink: Sink, labels: list[str], frames: int) -> int:
    """Bytes that a sink holds on to after many frames."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for i in range(frames):
        logits = np.full(600, float(i % 7), np.float32)
        sink(Frame(GREY, i / 5), Prediction(i, logits, labels, i / 5))
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return grown


def test_a_plot_of_a_long_stream_holds_no_predictions(tmp_path: Path) -> None:
    """600 classes, 20,000 frames: 48 MB if all were kept."""
    labels = [f"class {i}" for i in range(600)]
    with plotted(tmp_path / "a.png", Selection()) as sink:
        grown = traced(sink, labels, 20_000)
    assert grown < 20e6
    kept: list[Prediction] = []  # what it measures is there to be seen
    assert traced(lambda _, prediction: kept.append(prediction), labels, 20_000) > 40e6
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 500


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where it may be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    ("name", "frames"),
    [("a.csv", 400), ("a.mp4", 400), ("a.mp4", 2), ("a.gif", 9), ("a.png", 9), ("a.npz", 9)],
)
def test_a_full_disk_is_one_line_with_the_right_name(
    tmp_path: Path, name: str, frames: int
) -> None:
    """Another video, on a healthy disk, is open around it: its name must not appear."""
    classifier = StreamClassifier(small_model(tmp_path / "m.tflite"))
    selection = Selection()
    with small_disk(tmp_path / "disk") as disk:
        path = disk / name
        path.write_bytes(b"before")
        (disk / "ballast").write_bytes(bytes(free(disk)))
        output: Output = {
            "a.csv": lambda: csv_lines(path, selection, 3),
            "a.png": lambda: plotted(path, selection),
            "a.npz": lambda: saved_state(path, classifier),
        }.get(name, lambda: labelled_video(path, selection, 5, 40, silent))()
        around = labelled_video(tmp_path / "whole.mp4", selection, 5, 40, silent)
        with pytest.raises(MovinetError) as caught:
            write_both(output, around, frames)
        message = str(caught.value)
        del caught
        gc.collect()
        assert message == f"cannot write {path}: No space left on device"
        assert path.read_bytes() == b"before"
        assert {p.name for p in disk.iterdir()} == {"ballast", name}


def free(disk: Path) -> int:
    space = os.statvfs(disk)
    return space.f_bavail * space.f_frsize


def write_both(inner: Output, outer: Output, frames: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    with outer as around, inner as sink:
        for i in range(frames):
            frame = Frame(np.roll(noise, i, axis=1), i / 5)
            if i < 9:
                around(frame, prediction(i))
            sink(frame, prediction(i))


def test_a_video_into_a_fifo(tmp_path: Path) -> None:
    fifo = tmp_path / "a.mp4"
    os.mkfifo(fifo)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(fifo.read_bytes()), daemon=True)
    reader.start()
    save_frames(fifo, [GREY] * 5, 5)
    reader.join(10)
    (tmp_path / "copy.mp4").write_bytes(found[0])
    assert len(list(open_frames(tmp_path / "copy.mp4"))) == 5
    assert fifo.is_fifo()


def test_a_table_into_a_fifo_comes_line_by_line(tmp_path: Path) -> None:
    fifo = tmp_path / "a.csv"
    os.mkfifo(fifo)
    lines: list[str] = []
    came = threading.Event()

    def read() -> None:
        with fifo.open() as file:
            for line in file:
                lines.append(line)
                if len(lines) == 2:
                    came.set()

    threading.Thread(target=read, daemon=True).start()
    with csv_lines(fifo, Selection(), 1) as sink:
        sink(Frame(GREY, 0.0), prediction(0))
        assert came.wait(10)  # though the run goes on
    assert lines[1].startswith("0,0.0,1,action ")


def test_special_files_for_every_output(tmp_path: Path) -> None:
    """They are still what they were, and the run is a success."""
    model = small_model(tmp_path / "m.tflite")
    command = [sys.executable, "-m", "movinet_runtime.cli.main", "run", "-", "--size", "8x8"]
    command += ["-m", str(model), "--json", "--csv", "/dev/null", "--save", "/dev/null"]
    command += ["--plot", "/dev/null", "--save-state", "/dev/null"]
    raw = bytes(SIDE * SIDE * 3 * 4)
    done = subprocess.run(command, input=raw, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert Path("/dev/null").is_char_device()
    command[command.index("--csv") + 1] = "/dev/stdout"
    done = subprocess.run(command, input=raw, capture_output=True, text=False)
    assert done.returncode == 0
    assert b"frame,time,rank,label,probability" in done.stdout
    assert done.stdout.count(b'"final": true') == 1
