"""movinet bench --host: a real SSH server on loopback plays the board."""

import getpass
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from movinet_benchmarks.host import Host, HostError, time_on_host
from movinet_benchmarks.measure import frames_for
from movinet_benchmarks.timing import Schedule
from movinet_runtime.errors import UsageError

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address that ssh reaches without a password; its settings are in a file of its own."""
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("no OpenSSH server and client here (package openssh-server)")
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(command, check=True)
    (tmp_path / "authorized").write_bytes((tmp_path / "user.pub").read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "authorized",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "StrictModes": "no",
        "UsePAM": "no",
        "PidFile": "none",
    }
    settings = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", "/dev/null", *settings])
    client = tmp_path / "config"
    client.write_text(
        f"Host board\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n"
        f" IdentityFile {tmp_path}/user\n UserKnownHostsFile {tmp_path}/known\n"
        " StrictHostKeyChecking accept-new\n"
    )
    folder = tmp_path / "bin"
    folder.mkdir()
    wrapper = folder / "ssh"  # the only way to give ssh another file of settings
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {client} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield "board"
    server.terminate()
    server.wait()


def test_a_board_measures_and_the_figures_come_home(
    board: str, stream_model: Path, tmp_path: Path
) -> None:
    report = tmp_path / "pi.json"
    command = [*MOVINET, "bench", str(stream_model), "--host", board]
    command += ["--host-python", sys.executable, "--rounds", "6"]
    command += ["--processes", "2", "-o", str(report)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (variant,) = json.loads(report.read_text())["variants"]
    assert variant["name"] == "small"
    assert [len(samples) for samples in variant["samples_ms"]] == [6, 6]
    assert variant["start"]["peak_bytes"] > 10e6


def test_models_of_one_name_both_come_home(board: str, stream_model: Path, tmp_path: Path) -> None:
    images = frames_for((64, 64), 5.0, None, 2)
    models = {"old/small 0": stream_model, "new/small 1": stream_model}
    timed, _ = time_on_host(Host(board, sys.executable), models, images, Schedule(2, 1))
    assert {one.name for one in timed} == set(models)


def test_what_a_board_says_is_passed_on(board: str, stream_model: Path) -> None:
    images = frames_for((64, 64), 5.0, None, 2)
    work = ({"small": stream_model}, images, Schedule(2, 1))
    with pytest.raises(HostError, match=r"board: .*nowhere/python.*"):
        time_on_host(Host(board, "/nowhere/python"), *work)
    with pytest.raises(HostError, match="board answered something else"):
        time_on_host(Host(board, "true"), *work)
    with pytest.raises(UsageError, match="is an address"):
        time_on_host(Host("-oProxyCommand=true"), *work)


def fake_ssh(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "ssh"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_a_board_that_falls_silent_is_given_up(
    stream_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = ({"small": stream_model}, frames_for((64, 64), 5.0, None, 2), Schedule(2, 1))
    fake_ssh(tmp_path, "exec sleep 60", monkeypatch)
    begin = time.monotonic()
    with pytest.raises(HostError, match="board did not answer within 1 s"):
        time_on_host(Host("board", limit=1), *work)
    assert time.monotonic() - begin < 30
    said = tmp_path / "said"
    fake_ssh(tmp_path, f'echo "$@" > {said}; exit 1', monkeypatch)
    with pytest.raises(HostError, match="no reason given"):
        time_on_host(Host("board", limit=77), *work)
    for option in ("ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=4"):
        assert f"-o {option}" in said.read_text()
    assert said.read_text().rstrip().endswith(" 77")  # the board ends by itself, too


def test_an_answer_is_checked(
    stream_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = ({"small": stream_model}, frames_for((64, 64), 5.0, None, 2), Schedule(2, 1))
    for answer in ("{}", '{"timed": [{"name": "0"}], "environment": {}}', "NaN"):
        fake_ssh(tmp_path, f"cat > /dev/null; echo '{answer}'", monkeypatch)
        with pytest.raises(HostError, match="board answered something else"):
            time_on_host(Host("board"), *work)
