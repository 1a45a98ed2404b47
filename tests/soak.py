"""movinet watch beside itself: what is killed again and again sees what the other one sees.

    python -m tests.soak --minutes 120

Two processes watch four RTSP cameras each, which show the same at the same time. One is left in
peace. Of the other, in turn: a camera's server, the broker and the process itself are killed and
come back. At the end, its events (as a listener at the broker got them) are those of the first,
but for the seconds in which something of theirs was gone.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.broker import Broker, Home, home, mosquitto
from tests.rtsp import RtspServer
from tests.small import small_model
from tests.watching import Picture, coloured

CAMERAS, RATE = 4, 10
ALL = [f"cam{number}" for number in range(CAMERAS)]
LONG, PAUSE = (1.0, 3.0), (1.5, 3.0)  # seconds of a colour, and of black between two
GONE = {"camera": 3.0, "broker": 60.0, "process": 2.0}  # seconds
MARGIN = 1.0  # seconds after a camera was seen again, in which an action may be half over
BACK = 26.0  # seconds until the broker was tried again, and its listeners waited for
MOST = 1_000_000  # bytes of all clips
PEACE = 6.0  # seconds between two disturbances
TOLERANCE = 0.6  # seconds by which the begin of the same event may differ: frames, a busy machine


def course(seed: int, seconds: float) -> list[tuple[float, int]]:
    """Return when a camera shows which colour; -1: black."""
    rng, now, found = random.Random(seed), 0.0, [(0.0, -1)]
    while now < seconds:
        now += rng.uniform(*PAUSE)
        found.append((now, rng.randrange(3)))
        now += rng.uniform(*LONG)
        found.append((now, -1))
    return found


@dataclass
class Camera:
    """A camera for two: the same pictures on two servers."""

    seed: int
    began: float
    seconds: float
    servers: list[RtspServer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._course = course(self.seed, self.seconds)
        self._pictures = {index: coloured(index) for index in range(-1, 3)}
        self.servers = [RtspServer(0, self.picture, RATE) for _ in range(2)]

    def picture(self, now: float) -> Picture:
        """What is shown at a moment."""
        shown = -1
        for moment, colour in self._course:
            if moment > now - self.began:
                break
            shown = colour
        return self._pictures[shown]

    def kill(self) -> None:
        self.servers[1].kill()

    def restart(self) -> None:
        self.servers[1] = RtspServer(self.servers[1].port, self.picture, RATE)


class Watch:
    """A process of movinet watch; it may be killed and started again."""

    def __init__(self, folder: Path, cameras: list[str], port: int) -> None:
        folder.mkdir()
        small_model(folder / "m.tflite")
        self.folder, self._log = folder, (folder / "log").open("w")
        text = (
            '[defaults]\nmodel = "m.tflite"\non = 0.6\npatience = 1\nmin_duration = 0.25\n'
            f'rate = {RATE}\nlost_after = 1.5\nupdate_every = 0\n[events]\nfile = "events.jsonl"\n'
            f'[clips]\nfolder = "clips"\nbefore = 1\nafter = 0.5\nmax_gb = {MOST / 1e9}\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\nprefix = "{folder.name}"\n'
        )
        for number, url in enumerate(cameras):
            text += f'[cameras.cam{number}]\nsource = "{url}"\n'
        (folder / "config.toml").write_text(text)
        self.start()

    def start(self) -> None:
        words = [sys.executable, "-m", "movinet_runtime.cli.main", "watch"]
        command = [*words, str(self.folder / "config.toml"), "--json"]
        self.process = subprocess.Popen(command, stdout=self._log, stderr=self._log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        self._log.close()
        return code

    def resident(self) -> float:
        """Megabytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def said(self) -> int:
        """How much it has said so far."""
        return (self.folder / "log").stat().st_size

    def wait(self, cameras: Iterable[str], since: int = 0) -> None:
        """Wait until it has said of cameras that it watches them, after so much else."""
        end = time.monotonic() + 60

        def watching() -> set[str]:
            lines = (self.folder / "log").read_text()[since:].splitlines(keepends=True)
            whole = [line for line in lines if line.startswith('{"status"') and line.endswith("\n")]
            states = [json.loads(line)["status"] for line in whole]
            return {one["camera"] for one in states if one["state"] == "watching"}

        while not set(cameras) <= watching():
            assert time.monotonic() < end, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.1)


@dataclass(frozen=True)
class Happened:
    """An event: camera, label, and when it began, seconds of the day's clock."""

    camera: str
    label: str
    began: float
    ended: float


def happened(messages: list[dict[str, Any]]) -> list[Happened]:
    """Return the events that were told to their end."""
    return [
        Happened(
            one["camera"],
            one["label"],
            datetime.fromisoformat(one["began"]).timestamp(),
            datetime.fromisoformat(one["ended"]).timestamp(),
        )
        for one in messages
        if one["kind"] == "end"
    ]


@dataclass
class Gone:
    """When a camera could not be seen, or its events be told."""

    spans: list[tuple[str, float, float]] = field(default_factory=list)

    def add(self, camera: str, begin: float, end: float) -> None:
        self.spans.append((camera, begin, end))

    def touches(self, one: Happened) -> bool:
        return any(
            camera in (one.camera, "") and begin - TOLERANCE < one.ended and one.began < end
            for camera, begin, end in self.spans
        )


def unmatched(these: list[Happened], others: list[Happened]) -> list[Happened]:
    """Return what is not among others."""
    left = list(others)
    found = []
    for one in these:
        for other in left:
            same = (other.camera, other.label) == (one.camera, one.label)
            if same and abs(other.began - one.began) < TOLERANCE:
                left.remove(other)
                break
        else:
            found.append(one)
    return found


def disturb(
    kind: str, number: int, seconds: float, cameras: list[Camera], watch: Watch, broker: Broker
) -> tuple[str, float, float]:
    """Kill something and bring it back; return whose events that concerns, and when."""
    begin, said = time.time(), watch.said()
    one = f"cam{number % CAMERAS}"
    kill: Callable[[], None]
    if kind == "camera":
        kill, restart, back = (
            cameras[number % CAMERAS].kill,
            cameras[number % CAMERAS].restart,
            [one],
        )
    elif kind == "process":
        kill, restart, back, one = watch.kill, watch.start, ALL, ""
    else:
        kill, restart, back, one = broker.kill, broker.start, [], "nobody"  # told later
    kill()
    time.sleep(seconds)
    restart()
    watch.wait(back, said)
    return one, begin, time.time() + MARGIN


@dataclass
class Report:
    """What came out.

    Attributes:
        events: of the one in peace.
        matched: of these, how many the other one told as well.
        disturbances: in order.
        lost, invented: differences that nothing excuses.
        twice: messages that came more than once.
        leftovers: files that should not be there.
        states: retained topics that are wrong at the end.
        codes: of both processes.
        grown: megabytes of resident memory of the one in peace.
        kept: bytes of the other one's clips.
    """

    events: int
    matched: int
    disturbances: list[str]
    lost: list[Happened]
    invented: list[Happened]
    twice: list[str]
    leftovers: list[str]
    states: list[str]
    codes: list[int]
    grown: float
    kept: int

    @property
    def well(self) -> bool:
        """Whether nothing is wrong."""
        wrong = (self.lost, self.invented, self.twice, self.leftovers, self.states)
        return not any(wrong) and set(self.codes) == {0} and 0 < self.kept <= MOST


def soak(
    minutes: float, folder: Path, say: Callable[[str], None], gone_for: dict[str, float]
) -> Report:
    """Watch in peace and in trouble; compare."""
    seconds = 60 * minutes
    with ExitStack() as stack:
        began = time.monotonic()
        cameras = [Camera(seed, began, seconds + 60) for seed in range(CAMERAS)]
        for camera in cameras:
            for which in (0, 1):
                stack.callback(lambda c=camera, w=which: c.servers[w].kill())  # type: ignore[misc]
        calm_broker, broker = (
            stack.enter_context(mosquitto(make(folder / name))) for name in ("broker0", "broker1")
        )
        listener = stack.enter_context(home(broker.port, prefix="hurt"))
        calm = Watch(folder / "calm", [c.servers[0].url for c in cameras], calm_broker.port)
        hurt = Watch(folder / "hurt", [c.servers[1].url for c in cameras], broker.port)
        stack.callback(calm.process.kill)
        stack.callback(lambda: hurt.process.kill())
        gone = Gone()
        for one in (calm, hurt):
            one.wait(ALL)
        gone.add("", 0.0, time.time() + MARGIN)
        early, done, number = calm.resident(), [], 0
        while time.monotonic() - began < seconds:
            kind = ("camera", "process", "camera", "broker")[number % 4]
            gone.add(*disturb(kind, number // 2, gone_for[kind], cameras, hurt, broker))
            done.append(kind)
            number += 1
            now, told = (time.monotonic() - began) / 60, len(listener.events())
            say(f"{now:.1f} min: {kind} was gone; {told} messages, {calm.resident():.1f} MB")
            # What waits for the broker would go with a process that is killed before it is told.
            time.sleep(PEACE if kind != "broker" else PEACE + BACK)
        grown = calm.resident() - early
        gone.add("", time.time() - 3.0, float("inf"))  # what goes on at the end
        codes = [calm.end(), hurt.end()]
        time.sleep(0.5)
        return judged(calm, hurt, listener, gone, done, codes, grown)


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def judged(
    calm: Watch,
    hurt: Watch,
    listener: Home,
    gone: Gone,
    done: list[str],
    codes: list[int],
    grown: float,
) -> Report:
    """Compare what both saw, and look at what is left on disk and at the broker."""
    lines = (calm.folder / "events.jsonl").read_text().splitlines()
    truth = happened([json.loads(line) for line in lines])
    told = listener.events()
    names = [f"{one['id']} {one['kind']}" for one in told]
    clips = hurt.folder / "clips"
    leftovers = [str(path) for path in clips.glob("*/.*")]
    leftovers += [str(p) for p in clips.glob("*/*.json") if not p.with_suffix(".mp4").exists()]
    wrong = [
        topic
        for topic, payload in listener.retained.items()
        if ("/label/" in topic and payload != b"OFF")
        or (topic == "hurt/status" and payload != b"offline")
    ]
    seen = happened(told)
    alone, strange = unmatched(truth, seen), unmatched(seen, truth)
    return Report(
        len(truth),
        len(truth) - len(alone),
        done,
        [one for one in alone if not gone.touches(one)],
        [one for one in strange if not gone.touches(one)],
        sorted({name for name in names if names.count(name) > 1}),
        leftovers,
        wrong,
        codes,
        grown,
        sum(path.stat().st_size for path in clips.glob("*/*")),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="movinet-soak-") as name:
        report = soak(minutes, Path(name), lambda line: print(line, flush=True), GONE)
    print(report)
    sys.exit(0 if report.well else 1)


if __name__ == "__main__":
    main()
