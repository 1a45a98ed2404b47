"""movinet watch: cameras beside each other, their events, and the outputs that are told."""

import io
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from datetime import time as day_time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from movinet_runtime.classifier import Prediction, StreamModel
from movinet_runtime.decisions import EventTracker
from movinet_runtime.errors import LostError, MovinetError, OutputError
from movinet_runtime.sources.frame import Frame
from movinet_runtime.sources.live import LiveSource
from movinet_runtime.watch.camera import Camera, cropped
from movinet_runtime.watch.cli import _say
from movinet_runtime.watch.command import CommandOutput
from movinet_runtime.watch.config import (
    ClipsConfig,
    CommandConfig,
    LinesConfig,
    MotionConfig,
    WatchConfig,
    WebConfig,
    WebhookConfig,
)
from movinet_runtime.watch.console import ConsoleOutput
from movinet_runtime.watch.events import EventMaker, WatchEvent, is_quiet
from movinet_runtime.watch.lines import LinesOutput
from movinet_runtime.watch.motion import MotionGate, cells
from movinet_runtime.watch.output import CameraStatus, Hub, Output
from movinet_runtime.watch.service import Service
from movinet_runtime.watch.webhook import WebhookOutput
from movinet_runtime.watch.worker import Worker
from tests.clock import SetClock
from tests.rtsp import rtsp_server
from tests.small import LABELS, small_model
from tests.watching import Memory, camera_config, coloured, film, until

NOON = datetime(2026, 11, 28, 12, tzinfo=timezone(timedelta(hours=1)))


def wall(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def predicted(index: int, time: float, probability: float) -> Prediction:
    """One label's probability; the others share the rest."""
    values = np.full(3, (1 - probability) / 2)
    values[0] = probability
    return Prediction(index, np.log(values).astype(np.float32), LABELS, time)


def made(maker: EventMaker, course: list[float], step: float = 0.2) -> list[WatchEvent]:
    """Feed the course of label 0."""
    found = []
    for i, probability in enumerate(course):
        found += maker.update(predicted(i, i * step, probability), wall)
    return found + maker.end(wall)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model(tmp_path / "m.tflite")


@pytest.fixture
def said() -> list[str]:
    return []


# Events.


def test_an_event_has_an_id_times_and_figures(model: Path) -> None:
    config = camera_config("camera:0", model, on=0.6, patience=2, update_every=0.4)
    events = made(EventMaker(config, LABELS), [0.4, 0.7, 0.9, 0.8, 0.7, 0.6, 0.1, 0.1, 0.1])
    assert [event.kind for event in events] == ["start", "update", "update", "end"]
    start, first, _, end = events
    assert len({event.id for event in events}) == 1
    assert start.began == wall(0.2)
    assert start.time == wall(0.4)
    assert start.duration == pytest.approx(0.2)
    assert start.ended is None
    assert first.time == wall(0.8)
    assert end.ended == wall(1.2)
    assert end.duration == pytest.approx(1.0)
    assert end.peak == pytest.approx(0.9)
    assert end.mean == pytest.approx((0.9 + 0.8 + 0.7 + 0.6 + 0.1) / 5)
    written = json.loads(json.dumps(end.as_json()))
    assert written["began"] == "2026-11-28T12:00:00.200+01:00"
    assert written["ended"] == "2026-11-28T12:00:01.200+01:00"


def test_a_clock_that_is_set_moves_no_begin(model: Path) -> None:
    maker = EventMaker(camera_config("camera:0", model, update_every=0.2), LABELS)
    found = []
    for i in range(6):
        step = 90 if i > 2 else 0
        prediction = predicted(i, i / 5, 0.9 if i < 5 else 0.1)
        found += maker.update(prediction, lambda moment: wall(moment + step))  # noqa: B023
    assert {one.began for one in found} == {wall(0.0)}
    assert len({(one.id, one.kind, one.time) for one in found}) == len(found)


@pytest.mark.parametrize(("patience", "count"), [(1, 3), (2, 2), (3, 1), (4, 0)])
def test_patience_counts_frames_in_a_row(model: Path, patience: int, count: int) -> None:
    course = [0.1, 0.9, 0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, *[0.1] * 4]
    maker = EventMaker(camera_config("camera:0", model, patience=patience), LABELS)
    assert [event.kind for event in made(maker, course)].count("start") == count
    tracker = EventTracker(0.6, None, 0.0, patience=patience)
    found = [tracker.update(predicted(i, i / 5, p)) for i, p in enumerate(course)]
    assert [event.kind for events in found for event in events].count("end") == count


def test_each_label_has_its_own_level(model: Path) -> None:
    levels = {"action 0": 0.95, "action 1": 0.2}
    maker = EventMaker(camera_config("camera:0", model, labels=levels, off=0.1), LABELS)
    assert [(e.kind, e.label) for e in made(maker, [0.5, 0.9, 0.05])] == [
        ("start", "action 1"),
        ("end", "action 1"),
        ("start", "action 1"),
        ("end", "action 1"),
    ]


def test_nothing_begins_in_quiet_hours_and_what_goes_on_begins_after_them(model: Path) -> None:
    quiet = ((day_time(11), day_time(12, 0, 1)),)
    maker = EventMaker(camera_config("camera:0", model, quiet=quiet), LABELS)
    events = made(maker, [0.9, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9, 0.1])
    assert [(event.kind, event.time) for event in events] == [
        ("start", wall(1.0)),
        ("end", wall(1.4)),
    ]
    assert events[0].began == wall(0.6)


def test_a_label_rests_after_an_event(model: Path) -> None:
    maker = EventMaker(camera_config("camera:0", model, cool_down=1.0), LABELS)
    events = made(maker, [0.9, 0.1, 0.9, 0.1, 0.9, 0.9, 0.9, 0.1])
    assert [(event.kind, event.time) for event in events] == [
        ("start", wall(0.0)),
        ("end", wall(0.2)),
        ("start", wall(1.2)),  # it went on when the rest was over
        ("end", wall(1.4)),
    ]


def test_hours_over_midnight() -> None:
    night = ((day_time(22), day_time(6, 30)),)
    assert is_quiet(night, day_time(23, 59))
    assert is_quiet(night, day_time(6, 29))
    assert not is_quiet(night, day_time(6, 30))
    assert not is_quiet(night, day_time(21, 59))


# One camera, fed by hand.


def fed(camera: Camera, frames: list[tuple[int, float]]) -> None:
    for colour, moment in frames:
        camera._look(Frame(coloured(colour), moment))


def test_a_pause_holds_the_state_and_a_long_one_resets_it(model: Path) -> None:
    """The small model's logits are this frame's colour and the last one's."""
    for pause, probability in ((5.0, 0.787), (15.0, 0.576)):
        clock, memory = SetClock(), Memory()
        config = camera_config("camera:0", model, reset_after=10.0)
        camera = Camera(config, StreamModel(model), memory, clock=clock)
        fed(camera, [(0, 0.0), (0, 0.2), (0, 0.2 + pause)])
        prediction = memory.seen[-1].prediction
        assert prediction is not None
        assert prediction.index == 2
        assert prediction.probabilities[0] == pytest.approx(probability, abs=1e-3)


def test_the_network_rests_while_nothing_moves(model: Path) -> None:
    motion = MotionConfig(linger=1.0)
    memory = Memory()
    config = camera_config("camera:0", model, motion=motion)
    camera = Camera(config, StreamModel(model), memory, clock=SetClock())
    fed(camera, [(0, i / 5) for i in range(20)] + [(1, 4 + i / 5) for i in range(20)])
    steps = [seen.prediction is not None for seen in memory.seen]
    # The first frame, or a change, and a second after it; the average needs some frames.
    assert steps[:6] == [True] * 6
    assert not any(steps[6:20])
    assert all(steps[20:26])
    assert not any(steps[-5:])
    status = camera.status()
    assert (status.frames, status.steps) == (40, sum(steps))
    assert memory.kinds()[:2] == [("start", "action 0"), ("end", "action 0")]
    assert [status.state for status in memory.states[:3]] == ["watching", "still", "watching"]


def test_what_moves_is_seen_in_cells() -> None:
    rng = np.random.default_rng(3)
    scene = rng.integers(0, 200, (240, 320, 3)).astype(np.uint8)
    gate = MotionGate(MotionConfig(linger=0.0))
    assert cells(scene).shape == (40, 53)
    assert gate.admits(scene, 0.0)
    for i in range(1, 5):  # noise of a sensor is no motion
        noisy = np.clip(scene + rng.normal(0, 9, scene.shape), 0, 255).astype(np.uint8)
        assert not gate.admits(noisy, i / 5)
    scene[100:140, 50:70] = 255  # a hand, 0.8 % of the picture
    assert gate.admits(scene, 1.0)
    assert gate.admits(np.zeros((48, 64, 3), np.uint8), 1.2)  # another mode of the camera


def test_cells_are_means_and_another_light_is_no_motion() -> None:
    rng = np.random.default_rng(4)
    scene = rng.integers(20, 180, (240, 320, 3)).astype(np.uint8)
    expected = scene[:, :318, 1].reshape(40, 6, 53, 6).mean(axis=(1, 3))
    np.testing.assert_allclose(cells(scene), expected, rtol=1e-6)
    assert cells(scene[:2, :2]).shape == (1, 1)  # hardly a picture
    gate = MotionGate(MotionConfig(linger=0.0))
    gate.admits(scene, 0.0)
    for i, light in enumerate((1.2, 0.8, 1.1, 0.7), start=1):
        assert not gate.admits((scene * light).astype(np.uint8), i / 5)


def test_a_crop_is_in_fractions() -> None:
    image = np.arange(48 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 64, 3)
    assert cropped(image, (0.25, 0.5, 0.75, 1.0)).shape == (24, 32, 3)
    assert cropped(image, (0.999, 0.999, 1.0, 1.0)).shape == (1, 1, 3)
    assert cropped(image, ()) is image


# Cameras beside each other.


def service(cameras: list[Any], memory: Output, say: Callable[[str], None] = print) -> Service:
    return Service(WatchConfig({one.name: one for one in cameras}), say, (memory,))


def test_a_file_is_played_over_and_over(tmp_path: Path, model: Path) -> None:
    clip = film(tmp_path / "clip.mp4", [(0, 0.6), (1, 0.6)])
    memory = Memory()
    running = service([camera_config(clip, model, rate=10)], memory)
    until(lambda: len([kind for kind, _ in memory.kinds() if kind == "start"]) >= 5)
    running.close()
    starts = [label for kind, label in memory.kinds() if kind == "start"]
    assert all(one != other for one, other in pairwise(starts))
    assert memory.kinds()[-1][0] == "end"
    assert memory.closed
    assert all(not status.reason for status in memory.states)
    (camera,) = memory.known.values()
    assert camera.status().dropped == 0


@contextmanager
def silent_server() -> Iterator[str]:
    """A camera that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"rtsp://127.0.0.1:{listening.getsockname()[1]}/camera"


def test_a_camera_that_hangs_delays_no_other(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("movinet_runtime.sources.live.JOIN_TIMEOUT", 0.2)
    monkeypatch.setattr("movinet_runtime.watch.source.OPENING", 2.0)
    clip = film(tmp_path / "clip.mp4", [(0, 2.0)])
    memory = Memory()

    class Slow(Output):
        """Holds up the thread of the camera that it is told of."""

        def frame(self, seen: Any) -> None:
            if seen.camera == "slow":
                time.sleep(0.7)

    with silent_server() as url, rtsp_server() as server:
        running = service(
            [
                camera_config(url, model, "silent", lost_after=1.0),
                camera_config(tmp_path / "none.mp4", model, "missing", lost_after=1.0),
                camera_config(clip, model, "slow", rate=10),
                camera_config(clip, model, "file", rate=10),
                camera_config(server.url, model, "rtsp", rate=10),
            ],
            Hub((memory, Slow()), print),
        )
        until(lambda: len(memory.of("file")) >= 10 and len(memory.of("rtsp")) >= 10)
        frames, began = len(memory.of("file")), time.monotonic()
        until(lambda: len(memory.of("file")) >= frames + 20)
        assert time.monotonic() - began < 2.6
        until(lambda: memory.known["silent"].status().state == "lost")
        states = {name: camera.status() for name, camera in memory.known.items()}
        running.close()
    assert states["missing"].state == "lost"
    assert states["slow"].dropped > 3
    assert states["file"].dropped + states["rtsp"].dropped <= 1
    assert states["file"].fps == pytest.approx(10, rel=0.1)
    assert states["rtsp"].fps == pytest.approx(10, rel=0.1)
    assert "gave no frame for 3 s" in (states["silent"].reason or "")


def test_a_lost_camera_ends_its_events_and_comes_back(
    model: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("movinet_runtime.sources.live.FIRST_WAIT", 0.1)
    monkeypatch.setattr("movinet_runtime.watch.camera.FIRST_WAIT", 0.1)
    memory = Memory()
    with rtsp_server() as server:
        config = camera_config(server.url, model, rate=10, on=0.3, off=0.2, lost_after=1.0)
        running = service([config], memory, said.append)
        until(lambda: memory.events)
    until(lambda: memory.known["cam"].status().state == "lost")
    assert {kind for kind, _ in memory.kinds()} == {"start", "end"}
    told = len(memory.events)
    with rtsp_server(server.port):
        until(lambda: memory.known["cam"].status().state == "watching")
        until(lambda: len(memory.events) > told)
        running.close()
    states = [status.state for status in memory.states]
    assert states[:4] == ["starting", "watching", "lost", "watching"]
    assert memory.known["cam"].status().reopened == 1
    assert "cam is back" in said
    ids = [event.id for event in memory.events]
    assert all(ids.count(one) == 2 for one in ids)  # each start has its end


def test_a_camera_is_switched_off_and_on(tmp_path: Path, model: Path) -> None:
    clip = film(tmp_path / "clip.mp4", [(0, 2.0)])
    memory = Memory()
    running = service([camera_config(clip, model, rate=10)], memory)
    until(lambda: memory.events)
    memory.known["cam"].switch(False)
    until(lambda: memory.states[-1].state == "off")
    assert memory.kinds() == [("start", "action 0"), ("end", "action 0")]
    frames = len(memory.seen)
    time.sleep(0.4)
    assert len(memory.seen) == frames
    memory.known["cam"].switch(True)
    until(lambda: len(memory.events) == 3)
    running.close()
    assert len(memory.events) == 4


def test_off_and_on_again_is_no_loss(
    model: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is wanted again before the device was let go of."""
    asked, go_on = threading.Event(), threading.Event()

    def opener() -> Iterator[Any]:
        while True:
            yield lambda: coloured(0)
            asked.set()
            go_on.wait(20)
            go_on.clear()

    monkeypatch.setattr(
        "movinet_runtime.watch.camera.watched",
        lambda *_: LiveSource("cam", opener, said.append, 10.0),
    )
    memory = Memory()
    camera = Camera(camera_config("camera:0", model), StreamModel(model), memory, say=said.append)
    camera.start()
    until(lambda: memory.seen and asked.is_set())
    asked.clear()
    camera.switch(False)
    camera.switch(True)
    go_on.set()
    until(asked.is_set)
    until(lambda: len(memory.seen) > 1)
    camera.stop()
    go_on.set()
    assert camera.close()
    assert said == []
    assert {one.state for one in memory.states} == {"starting", "watching"}
    assert camera.status().reopened == 0


def test_a_reader_that_was_left_behind_keeps_nothing(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keepers: list[Any] = []
    told: list[str] = []

    class Remembers:
        def opened(self, template: Any) -> None:
            told.append("opened")

        def keep(self, packet: Any) -> None:
            told.append("kept")

    def opener() -> Iterator[Any]:
        keepers[-1].opened(None)
        keepers[-1].keep(None)
        return iter(())

    def watched(_: Any, keeper: Any, say: Any, clock: Any) -> LiveSource:
        keepers.append(keeper)
        return LiveSource("cam", opener, say, 0.0)

    monkeypatch.setattr("movinet_runtime.watch.camera.watched", watched)
    config = camera_config("camera:0", model)
    camera = Camera(config, StreamModel(model), Memory(), Remembers(), lambda _: None)  # type: ignore[arg-type]
    with pytest.raises(LostError):
        camera._watch()
    told.clear()
    keepers[0].opened(None)
    keepers[0].keep(None)
    assert told == []


def test_weights_are_loaded_once_for_each_file(tmp_path: Path, model: Path) -> None:
    clip = film(tmp_path / "clip.mp4", [(0, 1.0)])
    other = small_model(tmp_path / "other.tflite")
    memory = Memory()
    configs = [camera_config(clip, model, "a"), camera_config(clip, model, "b")]
    running = service([*configs, camera_config(clip, other, "c")], memory)
    models = [camera.model for camera in running.cameras.values()]
    assert models[0] is models[1]
    assert models[0] is not models[2]
    running.close()


def test_a_reload_keeps_what_did_not_change(tmp_path: Path, model: Path) -> None:
    clip = film(tmp_path / "clip.mp4", [(0, 2.0)])
    memory = Memory()
    kept, changed = camera_config(clip, model, "kept"), camera_config(clip, model, "changed")
    running = service([kept, changed, camera_config(clip, model, "gone")], memory)
    until(lambda: all(len(memory.of(name)) > 3 for name in ("kept", "changed", "gone")))
    before = dict(running.cameras)
    changed = camera_config(clip, model, "changed", on=0.7)
    new = [kept, changed, camera_config(clip, model, "new")]
    lines = LinesConfig(tmp_path / "events.jsonl")
    running.reload(WatchConfig({one.name: one for one in new}, lines=lines))
    assert list(memory.known) == ["kept", "changed", "new"]
    assert running.cameras["kept"] is before["kept"]
    assert running.cameras["changed"] is not before["changed"]
    assert running.cameras["changed"].model is before["changed"].model
    until(lambda: len(memory.of("new")) > 3 and lines.file.stat().st_size)
    indices = [seen.prediction.index for seen in memory.of("kept") if seen.prediction]
    assert indices == list(range(len(indices)))  # its state went on
    assert not before["gone"].alive
    running.close()


def test_a_reload_that_fails_changes_nothing(tmp_path: Path, model: Path) -> None:
    clip = film(tmp_path / "clip.mp4", [(0, 2.0)])
    memory = Memory()
    running = service([camera_config(clip, model)], memory)
    before = dict(running.cameras)
    other = {"new": camera_config(clip, model, "new")}
    for wrong in (
        WatchConfig(other, lines=LinesConfig(tmp_path)),
        WatchConfig(other, clips=ClipsConfig(model)),
        WatchConfig({"new": camera_config(clip, tmp_path / "gone.tflite", "new")}),
    ):
        with pytest.raises(MovinetError):
            running.reload(wrong)
        assert running.cameras == before
    frames = len(memory.seen)
    until(lambda: len(memory.seen) > frames + 3)
    running.close()


def test_a_reload_that_fails_late_changes_nothing_either(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One output could be made, the next one cannot; nor can a camera."""
    clip = film(tmp_path / "clip.mp4", [(0, 2.0)])
    cameras = {"cam": camera_config(clip, model)}
    before = LinesConfig(tmp_path / "before.jsonl")
    clips = ClipsConfig(tmp_path / "clips")
    running = Service(WatchConfig(cameras, lines=before), print)
    kept, outputs = dict(running.cameras), running.hub.outputs
    new = LinesConfig(tmp_path / "after.jsonl")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        web = WebConfig(port=taken.getsockname()[1])
        with pytest.raises(OutputError, match="cannot listen"):
            running.reload(WatchConfig(cameras, lines=new, clips=clips, web=web))
    with monkeypatch.context() as wrong:
        wrong.setattr("movinet_runtime.watch.service.Camera", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            running.reload(WatchConfig(cameras, lines=new, clips=clips))
    assert running.hub.outputs == outputs
    assert running.cameras == kept
    assert running.config.lines == before
    assert running.stuck() is None
    running.close()
    assert not [one for one in threading.enumerate() if one.name in ("clips", "events file")]


def test_a_folder_that_cannot_be_cleaned_stops_no_reload(
    tmp_path: Path, model: Path, said: list[str]
) -> None:
    odd = tmp_path / "clips" / "door" / f"20261128-120000-{'0' * 16}.mp4"
    odd.mkdir(parents=True)
    cameras = {"cam": camera_config(tmp_path / "none.mp4", model, enabled=False)}
    running = Service(WatchConfig(cameras), said.append)
    running.reload(WatchConfig(cameras, clips=ClipsConfig(tmp_path / "clips")))
    assert list(running.cameras) == ["cam"]
    running.close()
    assert len(said) == 1
    assert f"cannot delete {odd}" in said[0]


def test_no_event_is_lost_while_an_output_is_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[tuple[Any, str]] = []
    running: list[Service] = []

    class Slow(Output):
        """Takes no more from when it is closed, which takes a while."""

        def __init__(self, section: LinesConfig) -> None:
            self.section, self.closed = section, False

        def event(self, event: WatchEvent) -> None:
            if not self.closed:
                got.append((self.section, event.id))

        def close(self) -> None:
            self.closed = True
            if running:
                running.pop().hub.event(event(id="during"))

    monkeypatch.setattr(
        "movinet_runtime.watch.service._output", lambda _, section, *__: Slow(section)
    )
    old, new = LinesConfig(tmp_path / "old"), LinesConfig(tmp_path / "new")
    one = Service(WatchConfig({}, lines=old), print)
    one.hub.event(event(id="before"))
    running.append(one)
    one.reload(WatchConfig({}, lines=new))
    one.close()
    assert got == [(old, "before"), (new, "during")]


def test_an_output_that_raises_takes_no_other_with_it(
    tmp_path: Path, model: Path, said: list[str]
) -> None:
    class Broken(Output):
        def frame(self, seen: Any) -> None:
            raise ZeroDivisionError("mine")

    memory = Memory()
    clip = film(tmp_path / "clip.mp4", [(0, 1.0)])
    running = service([camera_config(clip, model)], Hub((Broken(), memory), said.append))
    until(lambda: len(memory.seen) > 5)
    running.close()
    assert len(said) == 1
    assert said[0].startswith("Broken.frame: ZeroDivisionError: mine")


def test_a_thread_that_is_stuck_is_noticed(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("movinet_runtime.watch.service.STUCK", 0.2)
    release = threading.Event()

    class Stuck(Output):
        def frame(self, seen: Any) -> None:
            release.wait(20)

    clip = film(tmp_path / "clip.mp4", [(0, 1.0)])
    running = service([camera_config(clip, model)], Stuck())
    assert running.stuck() is None
    until(lambda: running.stuck() == "cam")
    release.set()
    until(lambda: running.stuck() is None)
    running.close()
    assert running.stuck() is None


# Outputs.


def event(kind: Any = "start", label: str = "action 0", id: str = "1") -> WatchEvent:
    return WatchEvent(id, kind, "cam", label, NOON, NOON, None, 0.0, 0.7, 0.8, 0.75)


def test_lines_are_appended_and_files_exchanged(tmp_path: Path, said: list[str]) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "sta')  # the power went
    output = LinesOutput(LinesConfig(path, max_mb=0.002, keep=2), said.append)
    for number in range(40):
        output.event(event(label="100 % größer", id=str(number)))
    output.close()
    assert not said
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "events.jsonl", "events.jsonl.1", "events.jsonl.2"
    ]  # fmt: skip
    lines = [
        line for one in (".2", ".1", "") for line in Path(f"{path}{one}").read_text().splitlines()
    ]
    ids = [int(json.loads(line)["id"]) for line in lines if line.endswith("}")]
    assert ids == list(range(ids[0], 40))
    assert json.loads(lines[-1])["label"] == "100 % größer"
    assert all(Path(f"{path}{one}").stat().st_size <= 2000 for one in ("", ".1", ".2"))


def test_a_file_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path, model: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        LinesOutput(LinesConfig(tmp_path), print)
    config = camera_config("camera:0", model)
    with pytest.raises(OutputError, match="cannot write"):
        Service(WatchConfig({"cam": config}, lines=LinesConfig(tmp_path)), print)


class Hook(BaseHTTPRequestHandler):
    """Answers with the statuses that the server still has, then with 200."""

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Hooked)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = server.statuses.pop(0) if server.statuses else 200
        if status == 0:
            time.sleep(1.0)
            return
        if status == 200:
            server.taken.append((dict(self.headers), json.loads(body)))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:9/")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class Hooked(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, statuses: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), Hook)
        self.statuses = statuses
        self.taken: list[tuple[dict[str, str], dict[str, Any]]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


def test_lines_on_standard_output_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as printed, os.fdopen(reader) as read:
        monkeypatch.setattr("sys.stdout", printed)
        output = ConsoleOutput(True, print)
        lines: list[str] = []
        listener = threading.Thread(target=lambda: lines.extend(read))
        listener.start()

        def tell(camera: str) -> None:
            for _ in range(100):
                output.status(CameraStatus(camera, "lost", NOON, "x" * 5000))

        tellers = [threading.Thread(target=tell, args=(f"c{i}",)) for i in range(4)]
        for one in tellers:
            one.start()
        for one in tellers:
            one.join()
        output.close()
        printed.close()
        listener.join()
    assert len(lines) == 400
    assert all(json.loads(line)["status"]["reason"] for line in lines)


def test_a_standard_output_that_nobody_reads_stops_no_camera(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as printed, os.fdopen(reader) as read:
        monkeypatch.setattr("sys.stdout", printed)
        output = ConsoleOutput(False, said.append)
        began = time.monotonic()
        for _ in range(3000):
            output.status(CameraStatus("cam", "lost", NOON, "x" * 500))
        assert time.monotonic() - began < 5
        assert "standard output is too slow" in said[0]
        monkeypatch.undo()
        read.close()  # and now it goes away
        output.close()
    assert len(said) == 1


def test_nobody_to_tell_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    closed = io.StringIO()
    closed.close()
    with os.fdopen(writer, "wb", buffering=0) as raw:
        for stream in (io.TextIOWrapper(raw, write_through=True), closed):
            monkeypatch.setattr("sys.stderr", stream)
            _say("lost")
        monkeypatch.undo()


def test_a_webhook_is_tried_again_and_never_waited_for(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("movinet_runtime.watch.webhook.FIRST_WAIT", 0.01)
    server = Hooked([500, 0, 302])  # broken, silent, elsewhere
    config = WebhookConfig(server.url, authorization="Bearer 1", timeout=0.3)
    output = WebhookOutput(config, said.append)
    began = time.monotonic()
    for one in (event(), event("update"), event("end")):
        output.event(one)
    assert time.monotonic() - began < 0.1
    until(lambda: len(server.taken) == 2)
    output.close()
    server.shutdown()
    assert [body["kind"] for _, body in server.taken] == ["start", "end"]
    headers, body = server.taken[0]
    assert headers["Authorization"] == "Bearer 1"
    assert body == event().as_json()
    assert not said


def test_a_webhook_that_never_answers_is_given_up(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("movinet_runtime.watch.webhook.FIRST_WAIT", 0.01)
    output = WebhookOutput(WebhookConfig("http://me:secret@127.0.0.1:9/", retries=2), said.append)
    output.event(event())
    until(lambda: said)
    output.close()
    assert "***@127.0.0.1:9/ did not take event 1" in said[0]
    assert "secret" not in said[0]


def test_a_webhook_says_no_secret(said: list[str]) -> None:
    wrong = [
        WebhookConfig("http://127.0.0.1:9/", authorization="Bearer s3cret\nx", retries=0),
        WebhookConfig("http://me:s3cret@camera.local/", retries=0),
    ]
    for config in wrong:
        output = WebhookOutput(config, said.append)
        output.event(event())
        output.close()
    assert [line.rpartition(": ")[2] for line in said] == ["ValueError", "InvalidURL"]
    assert "s3cret" not in "".join(said)


def test_a_command_gets_the_event(tmp_path: Path, said: list[str]) -> None:
    script = f"cat > {tmp_path}/$MOVINET_KIND-$MOVINET_CAMERA-$MOVINET_ID.json"
    config = CommandConfig(("/bin/sh", "-c", script), ("start", "end"))
    output = CommandOutput(config, said.append)
    for one in (event(), event("update"), event("end")):
        output.event(one)
    output.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "end-cam-1.json",
        "start-cam-1.json",
    ]
    assert json.loads((tmp_path / "end-cam-1.json").read_text()) == event("end").as_json()
    assert not said


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (("/bin/sh", "-c", "echo why >&2; exit 3"), "/bin/sh ended with 3 and said: why"),
        (("/bin/sleep", "9"), "/bin/sleep took longer than 0.2 s"),
        (("/no/such",), "cannot run /no/such: No such file or directory"),
        (("/bin/sh", "-c", "sleep 9 & sleep 9"), "/bin/sh took longer than 0.2 s"),
    ],
)
def test_a_command_that_fails_is_reported(
    said: list[str], command: tuple[str, ...], line: str
) -> None:
    output = CommandOutput(CommandConfig(command, timeout=0.2), said.append)
    output.event(event())
    until(lambda: said)
    output.close()
    assert said == [f"command: {line}"]


def test_a_command_may_leave_something_behind(tmp_path: Path, said: list[str]) -> None:
    """What it left in the background holds its standard error open; nobody waits for it."""
    script = f"sleep 5 & echo $! > {tmp_path}/left; kill -0 $!"
    output = CommandOutput(CommandConfig(("/bin/sh", "-c", script), timeout=2.0), said.append)
    began = time.monotonic()
    output.event(event())
    output.close()
    assert time.monotonic() - began < 2.0
    assert not said
    os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)  # it went on


def test_a_command_takes_with_it_what_it_began_when_its_time_is_over(
    tmp_path: Path, said: list[str]
) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/left; wait"
    output = CommandOutput(CommandConfig(("/bin/sh", "-c", script), timeout=0.5), said.append)
    output.event(event())
    until(lambda: said)
    output.close()
    child = Path("/proc") / (tmp_path / "left").read_text().strip()
    # Who takes care of orphans may not be in a hurry.
    until(lambda: not child.exists() or ") Z " in (child / "stat").read_text())


def test_a_worker_that_is_too_slow_drops_the_oldest(said: list[str]) -> None:
    gate, done = threading.Event(), []

    def handle(item: int) -> None:
        gate.wait(20)
        done.append(item)

    worker: Worker[int] = Worker("disk", handle, 3, said.append)
    worker.put(0)
    until(lambda: not worker._items)  # it is in hand
    for item in range(1, 8):
        worker.put(item)
    gate.set()
    worker.close()
    assert done == [0, 5, 6, 7]
    assert worker.dropped == 4
    assert said == ["disk is too slow: 1 left out so far"]
