"""movinet bench with several --host: two real SSH servers on loopback, one of which fails."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from movinet_benchmarks.bench_cli import bench
from movinet_benchmarks.formats import FORMATS
from movinet_benchmarks.gate import checks
from movinet_benchmarks.host import Host, HostError, time_on_hosts
from movinet_benchmarks.measure import Plan, frames_for, measure
from movinet_benchmarks.report import read_report
from movinet_benchmarks.timing import Schedule
from movinet_runtime.errors import UsageError
from tests.boards import boards

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]
FULL = "echo no space left on the card >&2; exit 1"
QUICK = ["--host-python", sys.executable, "--rounds", "4", "--processes", "1"]


def test_two_boards_make_one_report(
    stream_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "fleet.json"
    pages = [tmp_path / "fleet.md", tmp_path / "fleet.html"]
    with boards(tmp_path, monkeypatch, {"porch": None, "barn": None}):
        command = [*MOVINET, "bench", str(stream_model), "--host", "porch", "--host", "barn"]
        command += [*QUICK, "--commit", "v1", "-o", str(report)]
        command += [word for page in pages for word in ("-o", str(page))]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = read_report(report)
    assert [variant.key for variant in found.variants] == ["small on porch", "small on barn"]
    assert (found.run.commit, found.run.host, found.failures) == ("v1", None, [])
    apart = found.by_board()
    assert [one.run.host for one in apart] == ["porch", "barn"]
    assert [one.variants[0].key for one in apart] == ["small", "small"]
    # Both ran at the same time.
    looks = [one.environment.looks for one in apart]
    assert max(look[0].time for look in looks) < min(look[-1].time for look in looks)
    for page, title in zip(pages, ("### porch", "<h2>porch</h2>"), strict=True):
        assert title in page.read_text("utf-8")
    assert FORMATS["markdown"](found).count("| variant |") == 2
    assert done.stdout.count("median ms") >= 2
    compared = [*MOVINET, "bench", "compare", str(report), str(report), "--no-times"]
    assert subprocess.run(compared, capture_output=True).returncode == 0


def test_a_board_that_fails_is_a_line_and_the_others_results_stay(
    stream_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "fleet.json"
    pages = [tmp_path / "fleet.md", tmp_path / "fleet.html"]
    with boards(tmp_path, monkeypatch, {"porch": FULL, "barn": None}):
        command = [*MOVINET, "bench", str(stream_model), "--host", "porch", "--host", "barn"]
        command += [*QUICK, "-o", str(report)]
        command += [word for page in pages for word in ("-o", str(page))]
        done = subprocess.run(command, capture_output=True, text=True)
        both = [str(stream_model), "--host", "porch", "--host", "porch-again", "--json"]
        twice = CliRunner().invoke(bench, both)
        work = ({"small": stream_model}, frames_for((64, 64), 5.0, None, 2), Schedule(2, 1))
        gone = [Host("barn", "/nowhere/python"), Host("porch")]
        answers = time_on_hosts(gone, *work)
        with pytest.raises(HostError, match=r"no board measured anything: barn: .*; porch: no sp"):
            measure(Plan([stream_model], schedule=Schedule(2, 1), hosts=gone))
    said = "porch: no space left on the card"
    assert done.returncode == 1
    assert done.stderr.splitlines() == [said]
    found = read_report(report)
    assert found.failures == [said]
    assert [variant.key for variant in found.variants] == ["small on barn"]
    assert all(said in page.read_text("utf-8") for page in pages)
    assert all(isinstance(answer, HostError) for answer in answers.values())
    # The same machine under another name, before anything is measured.
    assert isinstance(twice.exception, UsageError)
    assert str(twice.exception) == "--host names one board twice: porch and porch-again"
    assert not twice.stdout


def test_a_board_that_is_missing_fails_the_gate(
    stream_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads((Path(__file__).parent / "data" / "bench" / "report.json").read_text())
    first, second = before["variants"]
    first["board"], second["board"] = "porch", "barn"
    environment = before["environment"]
    before["boards"] = [
        {"address": name, "environment": environment, "error": None} for name in ("porch", "barn")
    ]
    paths = [tmp_path / "before.json", tmp_path / "after.json"]
    paths[0].write_text(json.dumps(before))
    before["variants"] = [second]
    before["boards"][0] |= {"environment": None, "error": "porch: gone"}
    paths[1].write_text(json.dumps(before))
    old, new = map(read_report, paths)
    assert [c.verdict for c in checks(old, old, 0.05) if c.verdict != "same"] == []
    (worse,) = (c for c in checks(old, new, 0.05) if c.verdict == "worse")
    assert (worse.variant, worse.new) == ("a0-stream-float32 on porch", "missing")


def test_one_name_twice_is_refused(stream_model: Path) -> None:
    work = ({"small": stream_model}, frames_for((64, 64), 5.0, None, 2), Schedule(2, 1))
    with pytest.raises(UsageError, match=r"names one board twice: pi@127\.0\.0\.1 and 127"):
        time_on_hosts([Host("pi@127.0.0.1"), Host("127.0.0.1")], *work)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_waits_for_no_board(
    stream_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: signal.Signals
) -> None:
    program = tmp_path / "ssh"
    program.write_text(
        f'#!/bin/sh\ncase "$1" in -G) exit 1;; esac\necho $$ >> {tmp_path}/ids\nexec sleep 60\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    command = [*MOVINET, "bench", str(stream_model), "--host", "porch", "--host", "barn"]
    running = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        # A shell's background jobs ignore SIGINT, and their children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    ids = tmp_path / "ids"
    while not ids.exists() or len(ids.read_text().split()) < 2:
        assert running.poll() is None
        time.sleep(0.05)
    begin = time.monotonic()
    running.send_signal(end)
    try:
        assert running.wait(20) == 128 + end
    finally:
        running.kill()
    assert time.monotonic() - begin < 20
    assert not any(Path(f"/proc/{number}").exists() for number in ids.read_text().split())
