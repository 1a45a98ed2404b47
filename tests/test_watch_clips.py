"""Clips: the seconds before an event, whole files only, and what may stay."""

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from movinet_runtime import open_frames
from movinet_runtime.sources.clock import MonotonicClock
from movinet_runtime.watch import clips as clips_module
from movinet_runtime.watch.clips import ClipWriter
from movinet_runtime.watch.config import CameraConfig, ClipsConfig, WatchConfig
from movinet_runtime.watch.events import WatchEvent
from movinet_runtime.watch.packets import Encoder, Packet, PacketRing, Template, copied
from movinet_runtime.watch.retention import clean, kept, sweep
from movinet_runtime.watch.service import Service
from movinet_runtime.watch.source import watched
from tests.rtsp import rtsp_server
from tests.small import small_model
from tests.watching import Memory, camera_config, coloured, film, until

NOON = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model(tmp_path / "m.tflite")


@pytest.fixture
def said() -> list[str]:
    return []


def event(kind: Any, seconds: float, began: float, id: str = "1") -> WatchEvent:
    time, start = (NOON + timedelta(seconds=one) for one in (seconds, began))
    ended = time if kind == "end" else None
    return WatchEvent(id, kind, "cam", "a", time, start, ended, seconds - began, 0.9, 0.9, 0.9)


def fed(
    writer: ClipWriter, events: dict[int, list[WatchEvent]], count: int, config: CameraConfig
) -> list[WatchEvent]:
    """Ten pictures a second, each as bright as its number; events after the picture named."""
    recorder = writer.camera(config, 10.0)
    named = []
    for i in range(count):
        picture = np.full((48, 64, 3), 2 * i, np.uint8)
        recorder.picture(picture, i / 10)
        named += [recorder.event(one, picture, i / 10) for one in events.get(i, [])]
    recorder.finish()
    writer.close()
    return named


def brightness(path: Path) -> list[int]:
    return [round(float(frame.image.mean())) for frame in open_frames(path)]


def test_a_clip_has_the_seconds_before_and_after(
    tmp_path: Path, model: Path, said: list[str]
) -> None:
    memory = Memory()
    config = ClipsConfig(tmp_path / "clips", before=2.0, after=1.0)
    writer = ClipWriter(config, memory, said.append)
    events = {51: [event("start", 5.1, 5.0)], 80: [event("end", 8.0, 5.0)]}
    start, end = fed(writer, events, 120, camera_config("camera:0", model))
    assert not said
    (clip,) = memory.clips
    assert start.clip == end.clip == clip.name == "cam/20261128-120005-1.mp4"
    values = brightness(clip.path)
    # Key frames are two seconds apart, so that it begins at most so much earlier.
    assert 2 * 10 - 1 <= values[0] <= 2 * 30 + 1
    assert values[-1] == pytest.approx(2 * 90, abs=2)
    assert len(values) == pytest.approx((values[-1] - values[0]) / 2 + 1, abs=2)
    about = json.loads(clip.path.with_suffix(".json").read_text())
    assert about["events"] == [end.as_json()]
    assert about["encoded"] is True
    began = (datetime.fromisoformat(about["began"]) - NOON).total_seconds()
    assert began == pytest.approx(values[0] / 20, abs=0.06)
    assert Image.open(clip.path.with_suffix(".jpg")).size == (64, 48)
    assert sorted(p.suffix for p in clip.path.parent.iterdir()) == [".jpg", ".json", ".mp4"]


def test_events_that_overlap_share_a_clip_and_none_is_endless(
    tmp_path: Path, model: Path, said: list[str]
) -> None:
    memory = Memory()
    config = ClipsConfig(tmp_path / "clips", before=0.5, after=1.0, longest=3.0)
    writer = ClipWriter(config, memory, said.append)
    events = {
        20: [event("start", 2.0, 2.0, "a")],
        25: [event("start", 2.5, 2.5, "b"), event("end", 2.5, 2.0, "a")],
        70: [event("end", 7.0, 2.5, "b"), event("start", 7.0, 7.0, "c")],
        72: [event("end", 7.2, 7.0, "c")],
    }
    named = fed(writer, events, 100, camera_config("camera:0", model))
    assert [clip.events for clip in memory.clips] == [("a", "b"), ("c",)]
    assert {one.clip for one in named if one.id in "ab"} == {memory.clips[0].name}
    assert memory.clips[0].duration <= 3.1
    assert named[-1].clip == memory.clips[1].name


def test_the_packets_of_a_camera_are_kept_as_they_are(tmp_path: Path, model: Path) -> None:
    """No picture of the clip was encoded again: its packets are those of the source."""
    import av

    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(video=0) if packet.size]

    source = film(tmp_path / "clip.mp4", [(-1, 2.0), (0, 1.0), (-1, 2.0)])
    memory = Memory()
    config = camera_config(source, model, rate=10)
    clips = ClipsConfig(tmp_path / "clips", before=1.0, after=0.5)
    running = Service(WatchConfig({"cam": config}, clips=clips), print, (memory,))
    until(lambda: memory.clips)
    running.close()
    clip = memory.clips[0]
    mine, all_of_them = packets(clip.path), packets(source)
    assert any(mine == all_of_them[i : i + len(mine)] for i in range(len(all_of_them)))
    about = json.loads(clip.path.with_suffix(".json").read_text())
    assert (about["codec"], about["encoded"]) == ("h264", False)
    red = [frame.image[0, 0, 0] > 200 for frame in open_frames(clip.path)]
    assert 8 <= red.index(True) <= 16  # a second before, from a key frame on
    assert sum(red) == 10
    assert 5 <= red[::-1].index(True) <= 11  # half a second after, and what B-frames wait for


def test_a_clip_goes_on_where_a_file_begins_again(tmp_path: Path, model: Path) -> None:
    source = film(tmp_path / "clip.mp4", [(0, 0.5), (-1, 1.0), (0, 0.5)])
    memory = Memory()
    config = camera_config(source, model, rate=10)
    clips = ClipsConfig(tmp_path / "clips", before=0.5, after=0.5)
    running = Service(WatchConfig({"cam": config}, clips=clips), print, (memory,))
    until(lambda: len(memory.clips) >= 2)
    running.close()
    times = [frame.time for frame in open_frames(memory.clips[1].path)]
    steps = np.diff(times)
    assert len(times) > 15
    # It may end among pictures that others lean on.
    np.testing.assert_allclose(steps[:-3], 0.1, atol=0.03)


def test_an_rtsp_camera_is_kept_without_encoding(tmp_path: Path, model: Path) -> None:
    memory = Memory()
    clips = ClipsConfig(tmp_path / "clips", before=1.0, after=0.2)
    with rtsp_server() as server:
        config = camera_config(server.url, model, on=0.3, off=0.2, rate=10)
        running = Service(WatchConfig({"cam": config}, clips=clips), print, (memory,))
        until(lambda: len(memory.of("cam")) > 20)
        running.close()  # in the middle of the event
    (clip,) = memory.clips
    assert json.loads(clip.path.with_suffix(".json").read_text())["encoded"] is False
    frames = list(open_frames(clip.path))
    assert len(frames) > 20
    assert memory.events[-1].kind == "end"
    assert memory.events[-1].clip == clip.name


@pytest.mark.parametrize("known", ["all", "pts, later dts", "later", "none", "stumbling"])
def test_packets_without_times_go_by_their_arrival(
    tmp_path: Path, model: Path, said: list[str], known: str
) -> None:
    import av

    memory = Memory()
    writer = ClipWriter(ClipsConfig(tmp_path / "clips", before=9.0), memory, said.append)
    recorder = writer.camera(camera_config("camera:0", model), 10.0)
    with av.open(str(film(tmp_path / "clip.mp4", [(0, 1.0), (1, 1.0)]))) as container:
        recorder.opened(Template(container.streams.video[0]))
        for number, one in enumerate(p for p in container.demux(video=0) if p.size):
            packet = copied(one, 100.0 + number / 10, shift=900_000)
            if known == "none" or (known == "later" and number < 5):
                packet = replace(packet, pts=None, dts=None)
            elif known == "pts, later dts" and number < 5:
                packet = replace(packet, dts=None)
            elif known == "stumbling" and number == 7:
                packet = replace(packet, dts=3, pts=3)
            recorder.keep(packet)
    recorder.event(event("start", 2.0, 1.0), coloured(0), 102.0)
    recorder.finish()
    writer.close()
    assert not said
    frames = list(open_frames(memory.clips[0].path))
    assert len(frames) == 20
    assert frames[-1].time - frames[0].time == pytest.approx(1.9, abs=0.35)


def test_a_full_disk_ends_the_clip_and_not_the_watching(
    tmp_path: Path, model: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory()
    source = film(tmp_path / "clip.mp4", [(-1, 0.6), (0, 0.6)])
    full = [True]

    def mux(self: Any, packet: Packet, plain: Any = clips_module._ClipFile._mux) -> None:
        if full[0] and self.written == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(self, packet)

    monkeypatch.setattr(clips_module._ClipFile, "_mux", mux)
    clips = ClipsConfig(tmp_path / "clips", before=0.5, after=0.1)
    config = camera_config(source, model, rate=10)
    running = Service(WatchConfig({"cam": config}, clips=clips), said.append, (memory,))
    until(lambda: len(memory.events) >= 4)
    assert list((tmp_path / "clips").rglob("*.*")) == []
    full[0] = False
    until(lambda: memory.clips)
    running.close()
    assert len(said) == 1
    assert "No space left on device" in said[0]


def test_a_disk_that_stands_still_costs_the_clip_and_nothing_else(
    tmp_path: Path, model: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips_module, "QUEUE", 10)
    gate = threading.Event()

    def mux(self: Any, packet: Packet, plain: Any = clips_module._ClipFile._mux) -> None:
        gate.wait(20)
        plain(self, packet)

    monkeypatch.setattr(clips_module._ClipFile, "_mux", mux)
    memory = Memory()
    writer = ClipWriter(ClipsConfig(tmp_path / "clips"), memory, said.append)
    recorder = writer.camera(camera_config("camera:0", model), 10.0)
    began = time.monotonic()
    for i in range(60):
        recorder.picture(coloured(0), i / 10)
        if i == 30:
            recorder.event(event("start", 3.0, 3.0), coloured(0), 3.0)
    assert time.monotonic() - began < 5
    gate.set()
    recorder.finish()
    writer.close()
    assert memory.clips == []
    assert list((tmp_path / "clips").rglob("*.*")) == []
    assert "clips is too slow" in said[0]


def test_no_clip_is_begun_where_little_is_free(
    tmp_path: Path, model: Path, said: list[str]
) -> None:
    memory = Memory()
    free = shutil.disk_usage(tmp_path).free / 1e9
    config = ClipsConfig(tmp_path / "clips", keep_free_gb=2 * free)
    writer = ClipWriter(config, memory, said.append)
    fed(writer, {20: [event("start", 2.0, 2.0)]}, 40, camera_config("camera:0", model))
    assert not memory.clips
    assert "keep_free_gb" in said[0]


def test_what_a_killed_process_left_is_removed_and_nothing_else(
    tmp_path: Path, said: list[str]
) -> None:
    folder = tmp_path / "clips" / "cam"
    folder.mkdir(parents=True)
    a, b, c = (f"20261128-120000-{one * 16}" for one in "abc")
    foreign = [".x.mp4.part", "beach.jpg", "beach.mp4", "settings.json"]
    half = [f".{a}.mp4.part", f".{a}.json.part", f"{b}.mp4", f"{b}.jpg"]
    whole = [f"{c}.jpg", f"{c}.json", f"{c}.mp4"]
    for name in (*half, *whole, *foreign):
        (folder / name).write_bytes(b"x")
        os.utime(folder / name, (1, 1))
    (tmp_path / "clips" / f"{a}.mp4").write_bytes(b"x")  # not in a camera's folder
    clean(tmp_path / "clips", said.append)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*whole, *foreign])
    sweep(ClipsConfig(tmp_path / "clips"), NOON, said.append)
    assert sorted(path.name for path in folder.iterdir()) == foreign
    assert (tmp_path / "clips" / f"{a}.mp4").exists()
    assert not said


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({"max_days": 0.0, "max_gb": 0.0}, "0123"),
        ({"max_days": 2.5, "max_gb": 0.0}, "123"),
        ({"max_days": 0.5, "max_gb": 0.0}, "3"),
        ({"max_days": 0.0, "max_gb": 2500e-9}, "23"),
        ({"max_days": 1.5, "max_gb": 1500e-9}, "3"),
    ],
)
def test_the_oldest_clips_go_first(tmp_path: Path, limits: dict[str, float], left: str) -> None:
    now = datetime.now(timezone.utc)
    for number in range(4):
        folder = tmp_path / f"cam{number % 2}"
        folder.mkdir(exist_ok=True)
        for suffix, size in ((".mp4", 800), (".jpg", 150), (".json", 50)):
            path = folder / f"20261128-120000-{number:016}{suffix}"
            path.write_bytes(b"x" * size)
            moment = now.timestamp() - (3 - number) * 86_400
            os.utime(path, (moment, moment))
    sweep(ClipsConfig(tmp_path, **limits), now, print)
    assert "".join(sorted(clip.path.stem[-1] for clip in kept(tmp_path))) == left
    assert len(list(tmp_path.rglob("*.*"))) == 3 * len(left)


def old_clip(folder: Path) -> Path:
    """A clip of long ago; return its video."""
    folder.mkdir(parents=True)
    path = folder / f"20200101-000000-{'0' * 16}.mp4"
    for suffix in (".mp4", ".jpg", ".json"):
        path.with_suffix(suffix).write_text("{}")
        os.utime(path.with_suffix(suffix), (1, 1))
    return path


def test_what_is_too_old_goes_also_where_no_clip_can_be_begun(
    tmp_path: Path, model: Path, said: list[str]
) -> None:
    config = ClipsConfig(tmp_path / "clips", keep_free_gb=1e6)
    old = old_clip(config.folder / "cam")
    writer = ClipWriter(config, Memory(), said.append)
    fed(writer, {20: [event("start", 2.0, 2.0)]}, 40, camera_config("camera:0", model))
    assert "keep_free_gb" in said[0]
    assert not old.exists()


def test_a_clip_is_kept_where_old_ones_cannot_be_looked_for(
    tmp_path: Path, model: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(clips_module, "sweep", broken)
    memory = Memory()
    writer = ClipWriter(ClipsConfig(tmp_path / "clips"), memory, said.append)
    fed(writer, {20: [event("start", 2.0, 2.0)]}, 40, camera_config("camera:0", model))
    assert len(memory.clips) == 1
    assert said[0] == "cannot look for old clips: Input/output error"


def test_what_is_too_old_goes_once_in_a_while(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ClipsConfig(tmp_path / "clips")
    old = old_clip(config.folder / "cam")
    writer = ClipWriter(config, Memory(), said.append)
    writer.tick()
    monkeypatch.setattr(clips_module, "SWEEP", 0.0)
    assert old.exists()
    writer.tick()
    writer.close()
    assert not old.exists()


def test_a_clip_that_cannot_be_deleted_keeps_no_other(tmp_path: Path, said: list[str]) -> None:
    old = old_clip(tmp_path / "cam")
    other = old_clip(tmp_path / "other")
    old.with_suffix(".json").with_name("20200101-000000-" + "1" * 16 + ".mp4").mkdir()
    old.with_name("20200101-000000-" + "1" * 16 + ".json").write_text("{}")
    os.utime(old.with_name("20200101-000000-" + "1" * 16 + ".json"), (0, 0))
    sweep(ClipsConfig(tmp_path), NOON, said.append)
    assert not old.exists()
    assert not other.exists()
    assert len(said) == 1
    assert "cannot delete" in said[0]
    clean(tmp_path, said.append)  # nor does it stop the start
    assert len(said) == 2


def test_a_clip_of_an_event_that_is_told_late_goes_on_from_there(
    tmp_path: Path, model: Path, said: list[str]
) -> None:
    """After quiet hours: it began long ago, and goes on."""
    memory = Memory()
    config = ClipsConfig(tmp_path / "clips", before=1.0, after=1.0, longest=8.0)
    writer = ClipWriter(config, memory, said.append)
    # It began a minute before the first picture.
    events = {50: [event("start", 5.0, -60.0)], 70: [event("end", 7.0, -60.0)]}
    fed(writer, events, 100, camera_config("camera:0", model))
    (clip,) = memory.clips
    values = brightness(clip.path)
    assert values[0] <= 2 * 40 + 1
    assert values[-1] == pytest.approx(2 * 80, abs=2)
    assert clip.began == NOON + timedelta(seconds=round(values[0] / 20, 1))
    assert clip.duration <= 8.1


def test_many_packets_before_an_event_are_no_slow_disk(
    tmp_path: Path, model: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips_module, "QUEUE", 10)
    memory = Memory()
    writer = ClipWriter(ClipsConfig(tmp_path / "clips"), memory, said.append)
    recorder = writer.camera(camera_config("camera:0", model), 10.0)
    for i in range(40):
        recorder.picture(coloured(0), i / 10)
    recorder.event(event("start", 3.9, 3.9), coloured(0), 3.9)
    recorder.finish()
    writer.close()
    assert not said
    assert memory.clips[0].duration == pytest.approx(3.9)


@pytest.mark.parametrize("jump", [-3600.0, 3600.0, "late"])
def test_a_clip_lasts_as_long_as_it_did_where_a_clock_is_set(
    tmp_path: Path, model: Path, said: list[str], jump: Any
) -> None:
    """A camera's clock; packets that were held up on their way keep their times."""
    memory = Memory()
    writer = ClipWriter(ClipsConfig(tmp_path / "clips"), memory, said.append)
    recorder = writer.camera(camera_config("camera:0", model), 10.0)
    encoder = Encoder((48, 64), 10.0)
    recorder.opened(encoder.template)
    for i in range(100):
        for one in encoder.encode(coloured(0), i / 10):
            assert one.pts is not None
            times = (
                one.pts + 90_000 * 4000 + (0 if jump == "late" or i < 50 else int(jump) * 90_000)
            )
            late = 6.0 if jump == "late" and i >= 50 else 0.0
            recorder.keep(replace(one, pts=times, dts=times, at=one.at + late))
        if i == 10:
            recorder.event(event("start", 1.0, 1.0), coloured(0), 1.0)
    recorder.finish()
    writer.close()
    assert not said
    frames = list(open_frames(memory.clips[0].path))
    assert len(frames) == 100
    assert frames[-1].time == pytest.approx(9.9, abs=0.2)


def test_the_ring_keeps_whole_groups_of_pictures() -> None:
    ring = PacketRing(keep=3.0)
    base = Fraction(1, 10)
    for i in range(5, 100):
        ring.add(Packet(b"12345", i, i, base, i % 10 == 0, i / 10))
    held = ring.since(0.0)
    assert (held[0].dts, held[-1].dts) == (60, 99)
    assert ring.bytes == 5 * len(held)
    assert ring.since(8.5)[0].dts == 80
    assert ring.since(99.0)[0].dts == 90
    ring.clear()
    assert ring.since(0.0) == []
    ring.add(Packet(b"", 1, 1, base, False, 0.1))
    assert ring.since(0.0) == []  # a player cannot begin here


def test_the_ring_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("movinet_runtime.watch.packets.MOST_BYTES", 1000)
    ring = PacketRing(keep=1000.0)
    for i in range(500):
        ring.add(Packet(b"x" * 10, i, i, Fraction(1, 10), i == 0, i / 10))
        assert ring.bytes <= 1000


def test_pictures_become_packets_at_once() -> None:
    encoder = Encoder((49, 65), 5.0)
    packets = [packet for i in range(25) for packet in encoder.encode(coloured(0, 49, 65), i / 5)]
    assert len(packets) == 25
    assert [i for i, packet in enumerate(packets) if packet.key] == [0, 10, 20]
    assert [packet.at for packet in packets[:2]] == [0.0, 0.2]


def test_a_keeper_sees_packets_before_their_pictures(
    tmp_path: Path, model: Path, write_video: Callable[..., Path]
) -> None:
    kept_packets: list[Packet] = []

    class Keeper:
        def opened(self, template: Any) -> None:
            assert template.codec == "h264"

        def keep(self, packet: Packet) -> None:
            kept_packets.append(packet)

    source = watched(
        camera_config(write_video(frames=12, fps=10), model), Keeper(), print, MonotonicClock()
    )
    run = source.sampled(10)
    next(run)
    assert kept_packets
    until(lambda: len(kept_packets) > 30)  # three rounds
    run.close()
    times = [packet.dts for packet in kept_packets]
    assert None not in times
    assert sorted(times) == times  # type: ignore[type-var]
