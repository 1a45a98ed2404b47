"""How a live run ends: a clean stop is a result, only a crash leaves nothing."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from movinet_runtime import StreamClassifier, open_frames
from movinet_runtime.cli.loop import classify
from movinet_runtime.decisions import EventTracker, Selection, Smoother
from movinet_runtime.errors import LostError, OutputError, SourceError
from movinet_runtime.outputs.events import event_lines
from movinet_runtime.outputs.lines import csv_lines
from movinet_runtime.outputs.output import Output, Sink
from movinet_runtime.outputs.state import saved_state
from movinet_runtime.outputs.table import table
from movinet_runtime.sources import live
from movinet_runtime.sources.frame import Frame
from movinet_runtime.sources.live import Grab, LiveSource
from movinet_runtime.sources.source import FrameSource
from movinet_runtime.stream import Stream
from tests.clock import SetClock
from tests.small import SIDE, small_model

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]
RED = np.zeros((SIDE, SIDE, 3), np.uint8)
RED[..., 0] = 255  # the small model is sure of action 0
NAMES = ["a.csv", "a.mp4", "a.npz", "a.png"]


def piped(model: Path, folder: Path, *more: str) -> subprocess.Popen[bytes]:
    """A run on a pipe that stays open, with every output: it is stopped in the middle."""
    table, video, state, plot = (str(folder / name) for name in NAMES)
    words = [*MOVINET, "run", "-", "--size", f"{SIDE}x{SIDE}", "-m", str(model)]
    words += ["--csv", table, "--save", video, "--save-state", state, "--plot", plot, *more]
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell's background jobs ignore SIGINT, and their children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdin
    process.stdin.write(RED.tobytes() * 10)
    process.stdin.flush()
    return process


def whole(folder: Path, frames: int) -> None:
    """Every output is there, and complete."""
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    with (folder / "a.csv").open(newline="") as file:
        assert {int(row["frame"]) for row in csv.DictReader(file)} == set(range(frames))
    assert len(list(open_frames(folder / "a.mp4"))) == frames
    with np.load(folder / "a.npz") as state:
        assert json.loads(str(state["about"]))["index"] == frames


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_live_run_is_a_result(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    process = piped(small_model(tmp_path / "m.tflite"), folder, "--events", "--json")
    assert process.stdin
    assert process.stdout
    assert process.stderr
    assert json.loads(process.stdout.readline())["kind"] == "start"
    process.send_signal(number)
    assert process.wait(60) == 0
    end = json.loads(process.stdout.read())
    assert (end["kind"], end["label"]) == ("end", "action 0")
    assert process.stderr.read() == b""
    with np.load(folder / "a.npz") as state:
        whole(folder, json.loads(str(state["about"]))["index"])


def test_a_stop_before_the_first_frame_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.npz").write_bytes(b"before")
    words = [*MOVINET, "run", "-", "--size", "8x8", "-m", str(small_model(tmp_path / "m.tflite"))]
    words += ["--save-state", str(folder / "a.npz"), "--save", str(folder / "a.mp4")]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    while len(list(folder.iterdir())) < 3:  # it has opened its outputs, and waits
        assert process.poll() is None
    process.terminate()
    assert process.wait(60) == 0
    assert [path.name for path in folder.iterdir()] == ["a.npz"]
    assert (folder / "a.npz").read_bytes() == b"before"


@pytest.mark.parametrize(("source", "code"), [("-", 0), ("camera:0", 0), ("a.mp4", 143)])
def test_a_stop_while_the_model_loads(tmp_path: Path, source: str, code: int) -> None:
    """Nothing has begun: good enough for a camera, but a file's answer is missing."""
    model = tmp_path / "slow.tflite"
    os.mkfifo(model)
    words = [*MOVINET, "run", source, "-m", str(model)]
    words += ["--size", "8x8"] if source == "-" else []
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    with model.open("wb"):  # it has opened its model, and reads
        process.terminate()
        assert process.wait(60) == code
    assert process.stderr
    assert process.stderr.read() == b""


def test_the_end_of_a_pipe(tmp_path: Path) -> None:
    """Between two frames it is the end; within one an error, which loses nothing either."""
    model = small_model(tmp_path / "m.tflite")
    for name, rest, code, line in (
        ("whole", b"", 0, b""),
        ("cut", b"x" * 100, 2, b"movinet: standard input breaks off within frame 10"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        process = piped(model, folder)
        _, said = process.communicate(rest, timeout=60)
        assert process.returncode == code, said
        assert said.startswith(line)
        assert len(said.splitlines()) == (code > 0)
        whole(folder, 10)


def test_the_reader_of_our_output_leaves(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    process = piped(small_model(tmp_path / "m.tflite"), folder, "--json")
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdout.readline()
    process.stdout.close()
    process.stdin.write(RED.tobytes())
    process.stdin.flush()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""
    assert sorted(path.name for path in folder.iterdir()) == NAMES


def test_a_file_is_read_to_its_end_without_the_reader_of_our_output(
    tmp_path: Path, write_video: Callable[..., Path]
) -> None:
    """head takes a line, the table has all of them."""
    clip = write_video(frames=40, fps=10)
    model = small_model(tmp_path / "m.tflite")
    words = [*MOVINET, "run", str(clip), "-m", str(model), "--csv", str(tmp_path / "a.csv")]
    command = " ".join(words) + " | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True)
    assert done.returncode == 0
    assert done.stderr == b""
    with (tmp_path / "a.csv").open(newline="") as file:
        assert {int(row["frame"]) for row in csv.DictReader(file)} == set(range(20))


# In one process: sources that a test writes, and a clock that it sets.


def grabs(count: int, then: Exception | None = None) -> Callable[[], Iterator[Grab]]:
    """Open a camera of so many red pictures once; then it is lost for good."""
    opened: list[int] = []

    def opener() -> Iterator[Grab]:
        opened.append(1)
        if len(opened) > 1:
            raise OSError("no route to host")
        for _ in range(count):
            yield lambda: RED
        if then is not None:
            raise then

    return opener


def live_run(
    tmp_path: Path, source: Any, more: list[Output] | None = None, events: bool = True
) -> list[str]:
    """Classify a source with a table, a state and events; return what was reported."""
    classifier = StreamClassifier(small_model(tmp_path / "m.tflite"))
    folder = tmp_path / "out"
    folder.mkdir()
    selection = Selection()
    outputs: list[Output] = [
        csv_lines(folder / "a.csv", selection, 1),
        saved_state(folder / "a.npz", classifier),
        *(more or []),
    ]
    if events:
        outputs.append(event_lines(EventTracker(min_duration=0), True, False))
    said: list[str] = []
    classify(source, 5, Stream(classifier), outputs, None, said.append)
    return said


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_source_that_stays_lost_ends_the_run_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = LiveSource("cam", grabs(1), give_up=300, clock=SetClock())
    said = live_run(tmp_path, source)
    assert said == ["cam gave no frame for 300 s: no route to host"]
    assert len(rows(tmp_path / "out" / "a.csv")) == 1
    assert (tmp_path / "out" / "a.npz").exists()
    kinds = [json.loads(line)["kind"] for line in capsys.readouterr().out.splitlines()]
    assert kinds == ["start", "end"]


def test_a_source_that_never_gave_a_frame_is_an_error(tmp_path: Path) -> None:
    clock = SetClock()
    source = LiveSource("cam", lambda: iter(()), give_up=300, clock=clock)
    with pytest.raises(LostError, match="gave no frame for 300 s: it ended"):
        live_run(tmp_path, source)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_signal_ends_the_wait_for_a_camera_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "JOIN_TIMEOUT", 0.1)

    def opener() -> Iterator[Grab]:
        yield lambda: RED
        threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        threading.Event().wait(20)

    before = signal.getsignal(signal.SIGTERM)
    source = LiveSource("cam", opener)
    source.give_up = 60
    live_run(tmp_path, source)
    assert len(rows(tmp_path / "out" / "a.csv")) == 1
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_signal_never_cuts_into_an_output(tmp_path: Path) -> None:
    """It comes while the first frame is written: that frame is in every output."""

    class Interrupting:
        def __enter__(self) -> Sink:
            return self.sink

        def sink(self, *_: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        def __exit__(self, *_: Any) -> None:
            pass

    live_run(tmp_path, LiveSource("cam", grabs(50), clock=SetClock()), [Interrupting()])
    assert len(rows(tmp_path / "out" / "a.csv")) == 1


def frames(*then: BaseException) -> Iterator[Frame]:
    for i in range(10):
        yield Frame(RED, i / 5)
    if then:
        raise then[0]


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SourceError("broken"), ZeroDivisionError()])
def test_part_of_a_file_is_nothing(tmp_path: Path, end: BaseException) -> None:
    with pytest.raises(type(end)):
        live_run(tmp_path, FrameSource("clip", frames(end)))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_crash_leaves_nothing(tmp_path: Path) -> None:
    class Crashing(LiveSource):
        pass

    def opener() -> Iterator[Grab]:
        yield lambda: RED
        yield lambda: 1 // 0  # type: ignore[misc,return-value]

    with pytest.raises(ZeroDivisionError):
        live_run(tmp_path, Crashing("cam", opener))
    assert list((tmp_path / "out").iterdir()) == []


def test_an_output_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    """A full disk under one of them: it is named, the others are whole."""
    full = csv_lines(Path("/dev/full"), Selection(), 1)
    with pytest.raises(OutputError, match="cannot write /dev/full: No space left on device"):
        live_run(tmp_path, LiveSource("cam", grabs(5), clock=SetClock()), [full])
    assert len(rows(tmp_path / "out" / "a.csv")) == 1


def test_reset_on_loss_forgets_everything_but_the_frame_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    black = np.zeros_like(RED)
    classifier = StreamClassifier(small_model(tmp_path / "m.tflite"))
    stream = Stream(classifier, Smoother(decay=0.9), reset_on_loss=True)
    tracker = EventTracker(min_duration=0)
    with event_lines(tracker, True, reset_on_loss=True) as sink:
        for i in range(6):
            frame = Frame(black if i > 2 else RED, i / 5, reopened=i == 3)
            prediction = stream.predict(frame)
            sink(frame, prediction)
            assert prediction.index == i
            if i == 3:  # nothing of the red past: all classes are alike
                np.testing.assert_allclose(prediction.probabilities, 1 / 3, atol=1e-6)
                events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
                assert [event["kind"] for event in events] == ["start", "end"]
                assert events[1]["time"] == 0.4
    assert classifier.state.index == 6


def test_a_full_disk_under_the_standard_output(tmp_path: Path) -> None:
    model = small_model(tmp_path / "m.tflite")
    for more in ([], ["--json"], ["--events"]):
        words = [*MOVINET, "run", "-", "--size", "8x8", "-m", str(model), *more]
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                words, input=RED.tobytes() * 20, stdout=full, stderr=subprocess.PIPE
            )
        assert done.returncode == 2
        assert done.stderr == b"movinet: cannot write standard output: No space left on device\n"


def test_labels_are_no_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model(tmp_path / "m.tflite", labels=["[/b] \x1b[2J", "[red]b", "c"])
    classifier = StreamClassifier(model)
    with table(Selection(), 3, "[/i] clip", None, 5) as sink:
        sink(Frame(RED, 0.0), classifier.step(RED))
    shown = capsys.readouterr().out
    assert "[/b]" in shown
    assert "[red]b" in shown
    assert "[/i] clip" in shown
    assert "\x1b" not in shown
