"""What outputs are told, and the hub that tells all of them.

An output gets calls from the cameras' threads and answers at once: what takes time is for a
:class:`movinet_runtime.watch.worker.Worker`. One that raises is reported and takes no other
with it, nor the camera.
"""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.classifier import Prediction
from movinet_runtime.sources.source import Say
from movinet_runtime.watch.events import WatchEvent

State = Literal["starting", "watching", "still", "lost", "off"]


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame of a camera, and what the model made of it.

    Attributes:
        camera: its name.
        image: uint8 [h, w, 3] RGB, the whole picture.
        prediction: smoothed, its time in seconds of the machine's clock; None: nothing moved,
            so that the network did not run.
        time: when the picture came.
        active: labels of the events that go on.
    """

    camera: str
    image: NDArray[np.uint8]
    prediction: Prediction | None
    time: datetime
    active: frozenset[str] = frozenset()


@dataclass(frozen=True)
class CameraStatus:
    """How a camera is.

    Attributes:
        camera: its name.
        state: ``starting``: no picture yet; ``watching``; ``still``: nothing moves, the
            network rests; ``lost``: no picture for ``lost_after`` seconds; ``off``.
        since: when that began.
        reason: why it is lost; None: it is not.
        seen: when the last picture came; None: there was none.
        frames: looked at since the service began.
        steps: of the network in them.
        dropped: due frames that a newer one replaced before they were looked at.
        reopened: how often it was lost and came back.
        fps: frames a second looked at, over the last ones.
        latency: milliseconds from a picture to its prediction, mean of the last ones.
    """

    camera: str
    state: State
    since: datetime
    reason: str | None = None
    seen: datetime | None = None
    frames: int = 0
    steps: int = 0
    dropped: int = 0
    reopened: int = 0
    fps: float = 0.0
    latency: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """All of it; times as ISO 8601 with zone."""
        values = asdict(self)
        for key in ("since", "seen"):
            moment = values[key]
            values[key] = None if moment is None else moment.isoformat(timespec="milliseconds")
        return values | {"fps": round(self.fps, 2), "latency": round(self.latency, 2)}


@dataclass(frozen=True)
class Clip:
    """A clip that is complete.

    Attributes:
        name: of the video, within the clips' folder: ``camera/20261128-174501-id.mp4``; beside
            it are ``.jpg`` and ``.json``.
        path: of the video.
        camera: whose.
        began: of its first picture.
        duration: seconds.
        events: the ids of the events in it.
    """

    name: str
    path: Path
    camera: str
    began: datetime
    duration: float
    events: tuple[str, ...]


class Switchable(Protocol):
    """A camera as outputs may handle it."""

    @property
    def labels(self) -> Sequence[str]:
        """The labels that may become events."""

    @property
    def lost_after(self) -> float:
        """Seconds that it may be without a picture."""

    def status(self) -> CameraStatus:
        """How it is now."""

    def switch(self, on: bool) -> None:
        """Begin or stop to watch; returns at once."""


class Output:
    """An output that does nothing; others override what they care for. All return at once."""

    def cameras(self, cameras: Mapping[str, Switchable]) -> None:
        """These are watched from now on: at the start, and when the configuration changed."""

    def frame(self, seen: Seen) -> None:
        """A frame was looked at."""

    def event(self, event: WatchEvent) -> None:
        """Something begins, goes on or ends."""

    def status(self, status: CameraStatus) -> None:
        """A camera's state is another one."""

    def clip(self, clip: Clip) -> None:
        """A clip is complete."""

    def close(self) -> None:
        """The service ends: deliver what waits, within seconds."""


class Hub(Output):
    """Tells several outputs, which may be exchanged at any time.

    Args:
        outputs: in the order in which they are told.
        say: told once what an output raised.
    """

    def __init__(self, outputs: Sequence[Output], say: Say) -> None:
        self.outputs, self._say = tuple(outputs), say
        self._said: set[str] = set()

    def _tell(self, what: str, *values: Any) -> None:
        for output in self.outputs:
            try:
                getattr(output, what)(*values)
            except Exception as error:  # a mistake in one output is no reason to be blind
                name = f"{type(output).__name__}.{what}: {type(error).__name__}: {error}"
                if name not in self._said and len(self._said) < 100:
                    self._said.add(name)
                    self._say(f"{name}\n{traceback.format_exc()}")

    def cameras(self, cameras: Mapping[str, Switchable]) -> None:
        """See :meth:`Output.cameras`."""
        self._tell("cameras", cameras)

    def frame(self, seen: Seen) -> None:
        """See :meth:`Output.frame`."""
        self._tell("frame", seen)

    def event(self, event: WatchEvent) -> None:
        """See :meth:`Output.event`."""
        self._tell("event", event)

    def status(self, status: CameraStatus) -> None:
        """See :meth:`Output.status`."""
        self._tell("status", status)

    def clip(self, clip: Clip) -> None:
        """See :meth:`Output.clip`."""
        self._tell("clip", clip)

    def close(self) -> None:
        """Close all of them."""
        self._tell("close")
