"""What tests of movinet watch have in common: cameras of configurations, outputs that remember."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.outputs.video import save_frames
from movinet_runtime.watch.config import CameraConfig
from movinet_runtime.watch.events import WatchEvent
from movinet_runtime.watch.output import CameraStatus, Clip, Output, Seen, Switchable

Picture = NDArray[np.uint8]


def coloured(index: int, height: int = 48, width: int = 64) -> Picture:
    """A picture that the small model takes for ``action index`` with 79 %; -1: black, 33 % each."""
    picture = np.zeros((height, width, 3), np.uint8)
    if index >= 0:
        picture[..., index] = 255
    return picture


def film(path: Path, parts: Sequence[tuple[int, float]], fps: float = 10) -> Path:
    """Write colours, each for so many seconds."""
    pictures = [coloured(index) for index, seconds in parts for _ in range(round(seconds * fps))]
    save_frames(path, pictures, fps, key_frames=0.5)
    return path


def camera_config(source: Path | str, model: Path, name: str = "cam", **more: Any) -> CameraConfig:
    values: dict[str, Any] = {"on": 0.6, "patience": 1, "min_duration": 0.0, "update_every": 0.0}
    return CameraConfig(name, str(source), model, **(values | more))


@dataclass
class Memory(Output):
    """Remembers everything."""

    seen: list[Seen] = field(default_factory=list)
    events: list[WatchEvent] = field(default_factory=list)
    states: list[CameraStatus] = field(default_factory=list)
    clips: list[Clip] = field(default_factory=list)
    known: Mapping[str, Switchable] = field(default_factory=dict)
    closed: bool = False

    def cameras(self, cameras: Mapping[str, Switchable]) -> None:
        self.known = dict(cameras)

    def frame(self, seen: Seen) -> None:
        self.seen.append(seen)

    def event(self, event: WatchEvent) -> None:
        self.events.append(event)

    def status(self, status: CameraStatus) -> None:
        self.states.append(status)

    def clip(self, clip: Clip) -> None:
        self.clips.append(clip)

    def close(self) -> None:
        self.closed = True

    def of(self, camera: str) -> list[Seen]:
        return [seen for seen in self.seen if seen.camera == camera]

    def kinds(self) -> list[tuple[str, str]]:
        return [(event.kind, event.label) for event in self.events]


def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.01)
