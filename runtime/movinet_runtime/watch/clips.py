"""Clips of events, with the seconds before them.

    camera's thread     event starts ........... ends
    packets (packets.py)  |- before -|- event -|- after -|   one clip, of all events in it
    writer's thread       temporary name ................ complete, renamed: .mp4 .jpg .json

The writer is one for all cameras, with a queue: a slow disk never holds up a camera. A full
disk ends the clip that is written and no other is begun until there is room again.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from functools import partial
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from movinet_runtime.errors import OutputError
from movinet_runtime.files import writing
from movinet_runtime.sources.source import Say
from movinet_runtime.watch.config import CameraConfig, ClipsConfig
from movinet_runtime.watch.events import WatchEvent, with_clip
from movinet_runtime.watch.output import Clip, Output
from movinet_runtime.watch.packets import Encoder, Packet, PacketRing, Template
from movinet_runtime.watch.retention import PART, clean, sweep
from movinet_runtime.watch.worker import Worker

QUEUE = 3000  # steps that wait for the disk: half a minute of packets of four cameras
SWEEP = 3600.0  # seconds between two looks at what is too old, also when nothing happens
JUMP = 5.0  # seconds by which a camera's times and their arrival may differ
THUMBNAIL = 320  # pixels from left to right
SLACK = 2.0  # seconds of packets beyond what an event needs to become certain


@dataclass(eq=False)
class _Recording:
    """A clip that is being kept, as the camera's thread sees it."""

    file: "_ClipFile"
    began: float  # of the clock: when its first packet came
    open: set[str]  # ids of events that go on
    until: float = float("inf")  # of the clock, once nothing goes on
    handed: int = 0  # packets that the writer got


class CameraClips:
    """Keeps the clips of one camera.

    Args:
        camera: whose.
        config: how much, and where.
        rate: frames a second that are looked at.
        writer: gets what is to be written.
    """

    def __init__(
        self, camera: CameraConfig, config: ClipsConfig, rate: float, writer: "ClipWriter"
    ) -> None:
        self._camera, self._config, self._rate, self._writer = camera, config, rate, writer
        certain = camera.min_duration + camera.patience / rate
        self._ring = PacketRing(config.before + certain + SLACK)
        self._template: Template | None = None
        self._encoder: Encoder | None = None
        self._recording: _Recording | None = None
        self._names: dict[str, str] = {}  # event that goes on -> its clip, complete or not
        self._lock = RLock()  # the reader's thread brings packets, the camera's events

    def opened(self, template: Template | None) -> None:
        """See :class:`movinet_runtime.watch.source.Keeper`."""
        with self._lock:
            self.finish()
            self._ring.clear()
            self._template, self._encoder = template, None

    def keep(self, packet: Packet) -> None:
        """See :class:`movinet_runtime.watch.source.Keeper`."""
        with self._lock:
            self._ring.add(packet)
            recording = self._recording
            if recording is None:
                return
            self._hand(recording, [packet])
            longest = self._config.longest
            if packet.at >= recording.until or (longest and packet.at - recording.began >= longest):
                self.finish()

    def picture(self, image: NDArray[np.uint8], at: float) -> None:
        """Encode a picture, where the source has no packets that can be kept."""
        with self._lock:
            if self._template is not None and not self._template.encoded:
                return
            if self._encoder is None or self._encoder.size != image.shape[:2]:
                self.opened(None)
                height, width = image.shape[:2]
                self._encoder = Encoder((height, width), self._rate)
                self._template = self._encoder.template
            for packet in self._encoder.encode(image, at):
                self.keep(packet)

    def event(self, event: WatchEvent, image: NDArray[np.uint8], at: float) -> WatchEvent:
        """Begin, go on or end; return the event with the name of its clip.

        Args:
            event: of this camera.
            image: uint8 [h, w, 3], of the thumbnail where one begins.
            at: seconds of the machine's clock.
        """
        with self._lock:
            if event.kind == "start":
                if self._recording is None:
                    self._begin(event, image, at)
                if self._recording is not None:
                    self._names[event.id] = self._recording.file.name
                    self._recording.open.add(event.id)
                    self._recording.until = float("inf")
            name = self._names.get(event.id)
            event = with_clip(event, name)
            if event.kind == "end":
                self._names.pop(event.id, None)
            recording = self._recording
            if recording is None or recording.file.name != name:
                return event  # no clip, or one that is complete already
            recording.file.events[event.id] = event.as_json()
            if event.kind == "end":
                recording.open.discard(event.id)
                if not recording.open:
                    recording.until = at - self._since(event) + self._config.after
            return event

    @staticmethod
    def _since(event: WatchEvent) -> float:
        """Seconds from an event's end to the message of it."""
        return 0.0 if event.ended is None else (event.time - event.ended).total_seconds()

    def finish(self) -> None:
        """Complete what is being kept: no packet follows."""
        with self._lock:
            if self._recording is not None:
                recording, self._recording = self._recording, None
                self._writer.put(_Write(recording.file, recording.handed, ()))

    def _begin(self, event: WatchEvent, image: NDArray[np.uint8], at: float) -> None:
        if self._template is None:
            return
        # An event may have begun long before it is told: after quiet hours, or a cool-down.
        early = at - event.duration - self._config.before
        if self._config.longest:
            early = max(early, at - self._config.longest / 2)
        packets = self._ring.since(early)
        if not packets:
            return
        first = event.time - timedelta(seconds=at - packets[0].at)
        name = f"{self._camera.name}/{event.began:%Y%m%d-%H%M%S}-{event.id}.mp4"
        file = _ClipFile(self._config, name, self._camera.name, self._template, image, first)
        self._recording = _Recording(file, packets[0].at, {event.id})
        # In one step: a minute before an event may be more packets than the queue has places.
        self._hand(self._recording, packets)

    def _hand(self, recording: _Recording, packets: Sequence[Packet]) -> None:
        self._writer.put(_Write(recording.file, recording.handed, tuple(packets)))
        recording.handed += len(packets)


@dataclass(frozen=True, eq=False)
class _Write:
    """A step of the writer: packets of a clip, the first by its number; none are its end."""

    file: "_ClipFile"
    number: int
    packets: tuple[Packet, ...]


class ClipWriter:
    """Writes the clips of all cameras, deletes what is too old or too much.

    Args:
        config: how much, and where.
        output: told of complete clips.
        say: told what goes wrong.
        now: the time of day.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(
        self,
        config: ClipsConfig,
        output: Output,
        say: Say,
        now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> None:
        self._config, self._output, self._now, self._say = config, output, now, say
        with writing(config.folder):
            config.folder.mkdir(exist_ok=True)
        self._swept = time.monotonic()
        self._worker: Worker[Callable[[], None]] = Worker("clips", lambda step: step(), QUEUE, say)

    def begin(self) -> None:
        """Remove what a killed process left behind; nobody else writes there from now on."""
        self._worker.put(partial(clean, self._config.folder, self._say))
        self._worker.put(self._sweep)

    def tick(self) -> None:
        """Look at what is too old, once in a while; to be called often."""
        if time.monotonic() - self._swept >= SWEEP:
            self._swept = time.monotonic()
            self._worker.put(self._sweep)

    def camera(self, camera: CameraConfig, rate: float) -> CameraClips:
        """Return what keeps the clips of a camera that is looked at so often a second."""
        return CameraClips(camera, self._config, rate, self)

    def put(self, step: _Write) -> None:
        """Queue a step."""
        self._worker.put(partial(self._write, step))

    def close(self) -> None:
        """Write what is queued."""
        self._worker.close()

    def _write(self, step: _Write) -> None:
        """Do a step; a clip that failed is given up as a whole.

        Raises:
            OutputError: it fails here.
        """
        file = step.file
        if file.failed:
            return
        if not step.number:
            self._sweep()  # what is too old may be the room that this one needs
        try:
            if step.number != file.written:
                raise OutputError(f"cannot keep {file.name}: the disk is too slow")
            for packet in step.packets:
                file.write(packet)
            if step.packets:
                return
            clip = file.finish()
        except BaseException:
            file.abandon()
            raise
        self._output.clip(clip)
        self._sweep()

    def _sweep(self) -> None:
        try:
            sweep(self._config, self._now(), self._say)
        except OSError as error:  # no reason to keep no clip
            self._say(f"cannot look for old clips: {error.strerror or error}")


@dataclass(eq=False)
class _ClipFile:
    """A clip on its way to the disk; used by the writer's thread, but for its events."""

    config: ClipsConfig
    name: str
    camera: str
    template: Template
    image: NDArray[np.uint8]
    began: datetime
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    written: int = 0
    failed: bool = False
    _file: Any = None
    _container: Any = None
    _stream: Any = None
    _first: float = 0.0
    _origin: int | None = None  # the camera's time at which the clip begins
    _said: int = 0  # the camera's time of the last packet
    _last: int = -1
    _end: float = 0.0

    @property
    def path(self) -> Path:
        """Of the video, once it is complete."""
        return self.config.folder / self.name

    def _part(self, suffix: str) -> Path:
        return self.path.with_name(f".{self.path.stem}{suffix}{PART}")

    def write(self, packet: Packet) -> None:
        """Add a packet, and begin the file with the first one.

        Raises:
            OutputError: the disk is full, or as good as.
        """
        with writing(self.path):
            if self._container is None:
                self._open(packet)
            self._mux(packet)
        self.written += 1

    def _open(self, packet: Packet) -> None:
        import av

        self.path.parent.mkdir(exist_ok=True)
        free = shutil.disk_usage(self.path.parent).free
        if free < self.config.keep_free_gb * 1e9:
            raise OutputError(
                f"no clip of {self.camera}: {free / 1e9:.1f} GB are free, keep_free_gb says "
                f"{self.config.keep_free_gb:g}"
            )
        self._file = self._part(".mp4").open("wb")
        options = {"movflags": "faststart"}  # browsers begin to play before they have all of it
        self._container = av.open(self._file, "w", format="mp4", options=options)
        self._stream = self._container.add_stream_from_template(self.template.stream, opaque=True)
        self._first = packet.at

    def _mux(self, packet: Packet) -> None:
        """Write a packet; what its container does not say of times, its arrival does."""
        import av

        arrived = round(Fraction(packet.at - self._first) / packet.time_base)
        said = packet.pts if packet.dts is None else packet.dts
        if said is not None:
            if self._origin is None or self._jumped(said, arrived, packet.time_base):
                self._origin = said - arrived
            self._said = said
        origin = self._origin or 0
        if packet.dts is not None:
            dts = packet.dts - origin
        else:
            dts = arrived if packet.pts is None else min(packet.pts - origin, self._last + 1)
        # A camera whose clock stumbles: MP4 wants times that grow.
        self._last = dts = max(dts, self._last + 1)
        pts = dts if packet.pts is None else max(packet.pts - origin, dts)
        one = av.Packet(packet.data)
        one.dts, one.pts, one.time_base = dts, pts, packet.time_base
        one.is_keyframe, one.stream = packet.key, self._stream
        self._container.mux(one)
        self._end = packet.at

    def _jumped(self, said: int, arrived: int, unit: Fraction) -> bool:
        """Whether a camera's clock was set. Packets that only came late are no reason."""
        jump = int(JUMP / unit)
        away = self._origin is not None and abs(said - self._origin - arrived) > jump
        return away and not -jump <= said - self._said <= jump

    def finish(self) -> Clip:
        """Complete video, picture and description, the last of which says that all are there.

        Raises:
            OutputError: the disk is full.
        """
        with writing(self.path):
            if self._container is None:
                raise OutputError(f"{self.name} has no pictures")
            self._container.close()
            _flush(self._file)
            self._picture(self._part(".jpg"))
            duration = round(self._end - self._first, 3)
            about = {
                "name": self.name,
                "camera": self.camera,
                "began": self.began.isoformat(timespec="milliseconds"),
                "duration": duration,
                "codec": self.template.codec,
                "encoded": self.template.encoded,
                "events": list(self.events.values()),
            }
            with self._part(".json").open("w", encoding="utf-8") as file:
                json.dump(about, file, ensure_ascii=False, indent=1)
                _flush(file)
            for suffix in (".mp4", ".jpg", ".json"):
                os.replace(self._part(suffix), self.path.with_suffix(suffix))
        return Clip(self.name, self.path, self.camera, self.began, duration, tuple(self.events))

    def _picture(self, path: Path) -> None:
        picture = Image.fromarray(self.image)
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        with path.open("wb") as file:
            picture.save(file, "JPEG", quality=85)
            _flush(file)

    def abandon(self) -> None:
        """Leave nothing of it."""
        self.failed = True
        for thing in (self._container, self._file):
            if thing is not None:
                with suppress(Exception):  # what failed may fail again
                    thing.close()
        for suffix in (".mp4", ".jpg", ".json"):
            with suppress(OSError):
                self._part(suffix).unlink(missing_ok=True)


def _flush(file: Any) -> None:
    """Bring a file to the disk and close it, before its name says that it is complete."""
    file.flush()
    os.fsync(file.fileno())
    file.close()
