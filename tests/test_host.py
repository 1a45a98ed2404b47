"""movinet bench --host: a real SSH server on loopback plays the board."""

import json
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
from tests.boards import boards

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address that ssh reaches without a password."""
    with boards(tmp_path, monkeypatch, {"board": None}):
        yield "board"


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
