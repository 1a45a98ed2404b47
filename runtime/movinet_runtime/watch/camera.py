"""One camera: a thread that looks at its newest frame, again and again.

    reader thread (sources/live.py)  ->  newest frame  ->  this thread: gate, network, events

A camera that is slow, hangs or is lost holds up this thread and no other. What it shares with
others are a model's weights, for one step at a time, and the outputs, which never wait.
"""

import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Condition, Thread
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.classifier import StreamModel
from movinet_runtime.decisions import Smoother
from movinet_runtime.errors import MovinetError
from movinet_runtime.sources.clock import Clock, MonotonicClock
from movinet_runtime.sources.frame import Frame
from movinet_runtime.sources.live import FIRST_WAIT, LONGEST_WAIT, LiveRun
from movinet_runtime.sources.source import Say
from movinet_runtime.stream import Stream
from movinet_runtime.watch.config import CameraConfig
from movinet_runtime.watch.events import EventMaker, WatchEvent
from movinet_runtime.watch.motion import MotionGate
from movinet_runtime.watch.output import CameraStatus, Output, Seen, State
from movinet_runtime.watch.source import Keeper, KeeperOfRun, watched

RECENT = 50  # frames that rates and latencies are of
Now = Callable[[], datetime]


def local_now() -> datetime:
    """Return the time of day with its zone."""
    return datetime.now().astimezone()


class Recorder(Keeper, Protocol):
    """Who keeps a camera's clips: see :class:`movinet_runtime.watch.clips.CameraClips`."""

    def picture(self, image: NDArray[np.uint8], at: float) -> None:
        """A picture was looked at, at a time of the machine's clock."""

    def event(self, event: WatchEvent, image: NDArray[np.uint8], at: float) -> WatchEvent:
        """Return the event with the name of its clip."""

    def finish(self) -> None:
        """There will be no packet for a while: complete what is being kept."""


class Camera:
    """Watches one camera in a thread of its own.

    Args:
        config: of the camera.
        model: loaded; its weights may be shared.
        output: told everything.
        recorder: keeps clips; None: nobody does.
        say: told in a line what people should know.
        clock: of frames and waits.
        now: the time of day.

    Raises:
        UsageError: levels that are none for this model.
    """

    def __init__(
        self,
        config: CameraConfig,
        model: StreamModel,
        output: Output,
        recorder: Recorder | None = None,
        say: Say = print,
        clock: Clock | None = None,
        now: Now = local_now,
    ) -> None:
        self.config, self.model = config, model
        self._output, self._recorder, self._say, self._now = output, recorder, say, now
        self._clock: Clock = MonotonicClock() if clock is None else clock
        smoother = Smoother(config.smooth, config.mean)
        self._stream = Stream(model.stream(), smoother, config.fit)
        self._events = EventMaker(config, model.labels)
        self._gate = None if config.motion is None else MotionGate(config.motion)
        self._rate = config.rate or model.fps
        self._changed = Condition()
        self._closing, self._on = False, config.enabled
        self._run: LiveRun | None = None
        self._let_go = False  # a run was stopped because nobody wanted it
        self._status = CameraStatus(config.name, "starting" if self._on else "off", now())
        self._stepped: float | None = None  # the last frame that the network saw
        self._times: deque[float] = deque(maxlen=RECENT)
        self._latencies: deque[float] = deque(maxlen=RECENT)
        self._dropped = 0  # of runs that are over
        self.busy_since: float | None = None  # seconds of time.monotonic()
        self._thread = Thread(target=self._work, daemon=True, name=f"watch {config.name}")

    @property
    def labels(self) -> Sequence[str]:
        """The labels that may become events."""
        return list(self.config.labels) or self.model.labels

    @property
    def lost_after(self) -> float:
        """Seconds that it may be without a picture."""
        return self.config.lost_after

    def start(self) -> None:
        """Begin to watch."""
        self._output.status(self.status())
        self._thread.start()

    def switch(self, on: bool) -> None:
        """Begin or stop to watch; the source is closed meanwhile."""
        with self._changed:
            self._on = on
            self._interrupt()

    def close(self, timeout: float = 10.0) -> bool:
        """End events and stop; return whether its thread ended within so many seconds."""
        self.stop()
        if self._thread.ident is None:  # it never began
            return True
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Stop without waiting."""
        with self._changed:
            self._closing = True
            self._interrupt()

    def _wanted(self) -> bool:
        return self._on and not self._closing

    def _interrupt(self) -> None:
        if self._run is not None and not self._wanted():
            self._run.stop()
            self._let_go = True
        self._changed.notify_all()

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def status(self) -> CameraStatus:
        """How it is now."""
        times, latencies = list(self._times), list(self._latencies)
        watched_now = self._status.state in ("watching", "still") and len(times) > 1
        fps = (len(times) - 1) / max(1e-9, times[-1] - times[0]) if watched_now else 0.0
        run = self._run
        return replace(
            self._status,
            dropped=self._dropped + (0 if run is None else run.dropped),
            fps=fps,
            latency=1000 * sum(latencies) / len(latencies) if latencies else 0.0,
        )

    def _work(self) -> None:
        wait = FIRST_WAIT
        while not self._closing:
            if not self._wanted():
                self._set("off")
                with self._changed:
                    while not self._wanted() and not self._closing:
                        self._changed.wait()
                continue
            frames = self._status.frames
            reason = self._until_it_ends()
            self._end_events()
            if self._recorder is not None:
                self._recorder.finish()
            # It may be wanted again, before the device was let go of: that is no loss.
            let_go, self._let_go = self._let_go, False
            if let_go or not self._wanted():
                continue
            wait = FIRST_WAIT if self._status.frames > frames else min(2 * wait, LONGEST_WAIT)
            self._lose(reason)
            self._pause(wait)

    def _until_it_ends(self) -> str:
        """Watch until it is closed, switched off or lost; return why."""
        try:
            self._watch()
        except MovinetError as error:
            return str(error)
        except Exception as error:  # ours to mend, but no reason to be blind until then
            self._say(f"{self.config.name}: {traceback.format_exc()}")
            return f"{type(error).__name__}: {error}"
        finally:
            self.busy_since = None
        return "it ended"

    def _watch(self) -> None:
        keeper = None if self._recorder is None else KeeperOfRun(self._recorder)
        source = watched(self.config, keeper, self._say, self._clock)
        run = source.sampled(self._rate)
        with keeper or nullcontext(), source, run:
            with self._changed:
                self._run = run
                self._interrupt()  # it may have been closed meanwhile
            try:
                for frame in run:
                    self.busy_since = time.monotonic()
                    self._look(replace(frame, time=run.began + frame.time))
                    self.busy_since = None
            finally:
                with self._changed:
                    self._run = None
                    self._dropped += run.dropped

    def _look(self, frame: Frame) -> None:
        """Look at a frame, whose time is of the machine's clock."""
        if self._status.state == "lost":
            self._say(f"{self.config.name} is back")
        came_back = frame.reopened or self._status.state == "lost"
        image = cropped(frame.image, self.config.crop)
        moves = self._gate is None or self._gate.admits(image, frame.time)
        prediction = None
        if moves:
            if self._stepped is not None and frame.time - self._stepped > self.config.reset_after:
                self._stream.classifier.reset(keep_index=True)
                self._stream.smoother.reset()
            prediction = self._stream.predict(Frame(image, frame.time))
            self._stepped = frame.time
        self._status = replace(
            self._status,
            frames=self._status.frames + 1,
            steps=self._status.steps + moves,
            reopened=self._status.reopened + came_back,
            seen=self._wall(frame.time),
        )
        self._times.append(frame.time)
        if moves:
            self._latencies.append(self._clock.now() - frame.time)
        self._set("watching" if moves else "still")
        if self._recorder is not None:
            self._recorder.picture(frame.image, frame.time)
        if prediction is None:
            self._end_events()
        else:
            for event in self._events.update(prediction, self._wall):
                self._tell(event, frame)
        wall, active = self._wall(frame.time), self._events.active
        self._output.frame(Seen(self.config.name, frame.image, prediction, wall, active))

    def _tell(self, event: WatchEvent, frame: Frame) -> None:
        if self._recorder is not None:
            event = self._recorder.event(event, frame.image, frame.time)
        self._output.event(event)

    def _end_events(self) -> None:
        """End the events that go on: nothing is seen, or nothing moves."""
        nothing = np.zeros((2, 2, 3), np.uint8)
        for event in self._events.end(self._wall):
            self._tell(event, Frame(nothing, self._clock.now()))

    def _lose(self, reason: str) -> None:
        if self._status.state != "lost" or self._status.reason != reason:
            self._say(f"{self.config.name} is lost: {reason}")
        self._set("lost", reason)

    def _set(self, state: State, reason: str | None = None) -> None:
        if (state, reason) != (self._status.state, self._status.reason):
            self._status = replace(self._status, state=state, reason=reason, since=self._now())
            self._output.status(self.status())

    def _pause(self, seconds: float) -> None:
        end = self._clock.now() + seconds
        with self._changed:
            while self._wanted() and (left := end - self._clock.now()) > 0:
                self._clock.wait(self._changed, left)

    def _wall(self, moment: float) -> datetime:
        """Return the time of day of a moment of the machine's clock, which never jumps."""
        return self._now() - timedelta(seconds=self._clock.now() - moment)


def cropped(image: NDArray[np.uint8], crop: tuple[float, ...]) -> NDArray[np.uint8]:
    """Cut (left, top, right, bottom) in fractions out of a picture; one pixel at least."""
    if not crop:
        return image
    height, width = image.shape[:2]
    left, top, right, bottom = crop
    x, y = min(round(left * width), width - 1), min(round(top * height), height - 1)
    return image[y : max(y + 1, round(bottom * height)), x : max(x + 1, round(right * width))]
