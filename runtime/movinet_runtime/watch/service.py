"""All cameras and outputs of a configuration, and what happens to them while they run.

SIGTERM, SIGINT   cameras stop, events end, outputs deliver what waits; exit code 0
SIGHUP            the configuration is read again; cameras and outputs that did not change
                  go on with their states, the others begin anew
watchdog          told that all is well once a second, unless a camera's thread is stuck
"""

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from movinet_runtime.classifier import StreamModel
from movinet_runtime.errors import ModelFileError, MovinetError
from movinet_runtime.sources.source import Say
from movinet_runtime.watch.camera import Camera, Recorder
from movinet_runtime.watch.config import CameraConfig, WatchConfig, WebConfig
from movinet_runtime.watch.lines import LinesOutput
from movinet_runtime.watch.notify import notify
from movinet_runtime.watch.output import Hub, Output

TICK = 1.0  # seconds between two looks at the cameras
STUCK = 60.0  # seconds in which no step, picture and output together can take
ALIVE = "MOVINET_ALIVE"  # names a file that is as new as the last tick: for containers
STOPS, RELOAD = ("SIGTERM", "SIGINT"), "SIGHUP"
# Of the configuration, an output each.
SECTIONS = ("lines", "web", "webhook", "command", "mqtt")


class Service:
    """Watches what a configuration says.

    Args:
        config: checked.
        say: told what people should know, in lines.
        always: outputs besides those of the configuration.

    Raises:
        MovinetError: an output or a model cannot be used; nothing runs then.
    """

    def __init__(self, config: WatchConfig, say: Say, always: tuple[Output, ...] = ()) -> None:
        self.config, self._say, self._always = config, say, always
        self._models: dict[Any, StreamModel] = {}
        self._outputs: dict[str, tuple[Any, Output]] = {}
        self._clips: Any = None
        self.cameras: dict[str, Camera] = {}
        self.hub = Hub((), say)
        self._said_stuck = False
        try:
            self._apply(config)
        except BaseException:
            self.close()
            raise

    def reload(self, config: WatchConfig) -> None:
        """Go on with another configuration; what did not change keeps its state.

        Raises:
            MovinetError: an output or a model cannot be used; it goes on as before.
        """
        self._apply(config)

    def close(self) -> None:
        """End events, stop all cameras at once, then the outputs."""
        self._stop(list(self.cameras.values()))
        self.cameras = {}
        if self._clips is not None:
            self._clips.close()
        self.hub.close()

    def stuck(self) -> str | None:
        """Name a camera whose thread does not come back from a frame, or died."""
        now = time.monotonic()
        for name, camera in self.cameras.items():
            since = camera.busy_since
            if not camera.alive or (since is not None and now - since > STUCK):
                return name
        return None

    def tick(self) -> None:
        """Tell the watchdog that all is well, if it is."""
        stuck = self.stuck()
        if self._clips is not None:
            self._clips.tick()
        if stuck is None:
            notify("WATCHDOG=1")
            alive = os.environ.get(ALIVE)
            if alive:
                with suppress(OSError):  # a full disk is no reason to be blind
                    Path(alive).touch()
        elif not self._said_stuck:
            self._said_stuck = True
            self._say(f"{stuck} is stuck; the watchdog is told no more")

    def _apply(self, config: WatchConfig) -> None:
        """Make all that may fail first, then exchange it, then close what it replaces."""
        clips_change = config.clips != self.config.clips or self._clips is None
        engines = (config.threads, config.engine)
        changed = engines != (self.config.threads, self.config.engine)
        changed = changed or config.clips != self.config.clips
        kept = {
            name: camera
            for name, camera in self.cameras.items()
            if not changed and config.cameras.get(name) == camera.config
        }
        loaded = {name: self._model(one, config) for name, one in config.cameras.items()}
        clips, old_clips = self._clips, None
        if clips_change:
            clips, old_clips = self._writer(config), self._clips
        try:
            begun = {
                name: self._camera(one, loaded[name], clips)
                for name, one in config.cameras.items()
                if name not in kept
            }
            outputs = self._made(config)
        except BaseException:
            if clips_change and clips is not None:
                clips.close()
            raise
        self._exchange(outputs)
        self._stop([camera for name, camera in self.cameras.items() if name not in kept])
        if old_clips is not None:
            old_clips.close()
        if clips_change and clips is not None:
            clips.begin()  # not before the old one is done: it takes over the folder
        self._clips = clips
        self.cameras = {name: (kept | begun)[name] for name in config.cameras}
        self.config = config
        used = {id(model) for model in loaded.values()}
        self._models = {key: m for key, m in self._models.items() if id(m) in used}
        self.hub.cameras(self.cameras)
        for camera in begun.values():
            camera.start()

    def _model(self, camera: CameraConfig, config: WatchConfig) -> StreamModel:
        """Load a model, or take the one that is loaded; a file that was replaced is another."""
        try:
            about = camera.model.stat()
        except OSError as error:
            raise ModelFileError(f"cannot read {camera.model}: {error.strerror}") from error
        key = (camera.model, about.st_mtime_ns, about.st_size, config.threads, config.engine)
        if key not in self._models:
            self._models[key] = StreamModel(camera.model, config.threads, engine=config.engine)
        return self._models[key]

    def _made(self, config: WatchConfig) -> dict[str, tuple[Any, Output]]:
        """Make the outputs whose section changed, beside those that stay.

        A port has one listener, so that a page that keeps its port is closed before the new one
        is made, and made again if that fails. It comes after what may be refused; MQTT, which
        takes over from the old one, comes last.
        """
        found, made = {}, []
        before = self._outputs
        wanted = {one: getattr(config, one) for one in SECTIONS if getattr(config, one) is not None}
        late = [one for one in ("web", "mqtt") if one in before and one in wanted]
        try:
            for name in [*(one for one in wanted if one not in late), *late]:
                section: Any
                section, old = before.get(name, (None, None))
                if wanted[name] == section and old is not None:
                    found[name] = section, old
                    continue
                if name == "web" and old is not None and section.port == wanted[name].port:
                    one = self._page(wanted[name], section, old)
                else:
                    one = _output(name, wanted[name], self._say, old)
                found[name] = wanted[name], one
                made.append(one)
        except BaseException:
            for one in made:
                one.close()
            raise
        return {name: found[name] for name in wanted}

    def _page(self, wanted: WebConfig, before: WebConfig, old: Output) -> Output:
        """Make a page on the port of the old one; the old one is made again if that fails."""
        old.close()
        try:
            return _output("web", wanted, self._say)
        except MovinetError:
            again = _output("web", before, self._say)
            again.cameras(self.cameras)
            self._outputs["web"] = before, again
            self._tell_hub()
            raise

    def _exchange(self, outputs: Mapping[str, tuple[Any, Output]]) -> None:
        """Tell the new outputs from now on, then close those that are not told any more."""
        before, self._outputs = self._outputs, dict(outputs)
        self._tell_hub()
        kept = [output for _, output in outputs.values()]
        for _, old in before.values():
            if old not in kept:
                old.close()

    def _tell_hub(self) -> None:
        self.hub.outputs = (*self._always, *(output for _, output in self._outputs.values()))

    def _writer(self, config: WatchConfig) -> Any:
        if config.clips is None:
            return None
        from movinet_runtime.watch.clips import ClipWriter

        return ClipWriter(config.clips, self.hub, self._say)

    def _camera(self, camera: CameraConfig, model: StreamModel, clips: Any) -> Camera:
        recorder: Recorder | None = None
        if clips is not None and camera.clips:
            recorder = clips.camera(camera, camera.rate or model.fps)
        return Camera(camera, model, self.hub, recorder, self._say)

    def _stop(self, cameras: list[Camera]) -> None:
        """Stop cameras side by side: one that hangs costs seconds, not each of them."""
        for camera in cameras:
            camera.stop()
        if cameras:
            with ThreadPoolExecutor(len(cameras)) as pool:
                for camera, ended in zip(cameras, pool.map(Camera.close, cameras), strict=True):
                    if not ended:
                        self._say(f"{camera.config.name} does not stop; it is left behind")


def _output(name: str, section: Any, say: Say, old: Output | None = None) -> Output:
    """Make the output of a section, which may take over from an old one.

    Libraries are loaded for those that are wanted.
    """
    if name == "lines":
        return LinesOutput(section, say)
    if name == "webhook":
        from movinet_runtime.watch.webhook import WebhookOutput

        return WebhookOutput(section, say)
    if name == "command":
        from movinet_runtime.watch.command import CommandOutput

        return CommandOutput(section, say)
    if name == "web":
        from movinet_runtime.watch.web.output import WebOutput

        return WebOutput(section, say)
    from movinet_runtime.watch.mqtt import MqttOutput

    return MqttOutput(section, say, old if isinstance(old, MqttOutput) else None)


def serve(
    path: Path, read: Callable[[Path], WatchConfig], say: Say, always: tuple[Output, ...] = ()
) -> None:
    """Watch until a signal ends it.

    Args:
        path: of the configuration; read again on SIGHUP.
        read: reads and checks it.
        say: told what people should know.
        always: outputs besides those of the configuration.

    Raises:
        MovinetError: it cannot begin.
    """
    with _signals() as (waited, asked):
        service = Service(read(path), say, always)
        try:
            notify("READY=1")
            while not asked.keys() & set(STOPS):
                if asked.pop(RELOAD, None):
                    _reload(service, path, read, say)
                service.tick()
                waited(TICK)
        finally:
            notify("STOPPING=1")
            service.close()


def _reload(service: Service, path: Path, read: Callable[[Path], WatchConfig], say: Say) -> None:
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        service.reload(read(path))
        say(f"{path} is in force")
    except (MovinetError, OSError) as error:
        say(f"goes on as before: {error}")
    notify("READY=1")


@contextmanager
def _signals() -> Iterator[tuple[Callable[[float], None], dict[str, bool]]]:
    """Take the signals over; give a function that waits for one, and which came.

    The waiting is on a socket that the interpreter writes to: a lock could be held by the very
    code that the handler interrupts. A second stop is not patient.
    """
    asked: dict[str, bool] = {}

    def ask(number: int, _: FrameType | None) -> None:
        name = signal.Signals(number).name
        if name in STOPS and asked.keys() & set(STOPS):
            raise SystemExit(128 + number)
        asked[name] = True

    reader, writer = socket.socketpair()
    for one in (reader, writer):
        one.setblocking(False)
    before = {}
    for name in (*STOPS, RELOAD):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None:
            before[number] = signal.signal(number, ask)
    fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def wait(seconds: float) -> None:
        if not asked and select.select([reader], [], [], seconds)[0]:
            os.read(reader.fileno(), 4096)

    try:
        yield wait, asked
    finally:
        signal.set_wakeup_fd(fd)
        for number, handler in before.items():
            signal.signal(number, handler)
        reader.close()
        writer.close()
