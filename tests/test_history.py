"""movinet bench history: lines over time and commits, machines apart."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from movinet_benchmarks.bench_cli import bench
from movinet_benchmarks.history import commits, described, draw, history, read_reports
from movinet_benchmarks.measure import Plan, measure
from movinet_benchmarks.report import Board, Report, encoded
from movinet_benchmarks.timing import Schedule
from movinet_runtime.errors import MovinetError, UsageError

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]


@pytest.fixture(scope="module")
def measured(stream_model: Path) -> Report:
    """A real report, small."""
    plan = Plan([stream_model], schedule=Schedule(2, 3), commit="v1")
    return measure(replace(plan, against=stream_model, long_frames=4))


def dated(report: Report, day: int, commit: str | None = None) -> Report:
    date = f"2026-11-{day:02}T12:00:00+00:00"
    return replace(report, run=replace(report.run, date=date, commit=commit))


def on_other(report: Report) -> Report:
    """The same on another processor."""
    return replace(report, environment=replace(report.environment, cpu="Another"))


def fleet(report: Report) -> Report:
    """The same on two boards of one kind, and a third that failed."""
    variants = [replace(one, board=name) for name in ("porch", "barn") for one in report.variants]
    boards = [Board(name, report.environment, None) for name in ("porch", "barn")]
    boards.append(Board("attic", None, "attic: gone"))
    return replace(report, variants=variants, boards=boards)


def write(folder: Path, reports: dict[str, Report]) -> Path:
    for name, report in reports.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(report))
    return folder


def movinet(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*MOVINET, "bench", "history", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_report_knows_its_commit_and_date(measured: Report) -> None:
    assert measured.run.commit == "v1"
    assert measured.run.date is not None
    assert abs(measured.environment.looks[0].time - _seconds(measured.run.date)) < 60


def _seconds(date: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(date).timestamp()


def test_lines_are_in_the_order_of_time_and_machines_apart(
    measured: Report, tmp_path: Path
) -> None:
    reports = {
        "a.json": dated(measured, 9, "v2"),
        "b.json": dated(measured, 3, "v1"),
        "deep/c.json": dated(on_other(measured), 5, "v3"),
        "d.json": dated(replace(measured, run=replace(measured.run, pace=5.0)), 4, "v1"),
        "e.json": dated(fleet(measured), 10, "v4"),
    }
    folder = write(tmp_path, {})
    write(folder, reports)
    # What is dated by the first look alone: reports of before this field.
    old = json.loads(encoded(measured))
    for field in ("date", "commit", "host"):
        old["run"].pop(field, None)
    del old["boards"]
    old["environment"]["looks"][0]["time"] = 1.0
    (folder / "old.json").write_text(json.dumps(old))
    found, skipped = read_reports(folder)
    assert not skipped
    lines = history(found)
    assert len({(line.machine, line.conditions, line.variant) for line in lines}) == len(lines) == 5
    own = next(line for line in lines if len(line.points) > 1)
    assert [point.report for point in own.points] == ["old.json", "b.json", "a.json"]
    assert [point.commit for point in own.points] == [None, "v1", "v2"]
    assert {line.machine.split(":")[0] for line in lines} >= {"porch", "barn"}
    assert not any("attic" in line.machine for line in lines)
    assert commits(lines) == ["v1", "v3", "v2", "v4"]
    step = measured.variants[0].step_ms
    assert (own.points[0].median_ms, own.points[0].low_ms) == (step.median, step.median_low)
    figure = draw(lines, "commits")
    assert len(figure.axes) == 3 * 5
    latency = figure.axes[3 * lines.index(own)]  # one variant: a row for each line
    assert [text.get_text() for text in latency.get_xticklabels()] == ["v1", "v2"]
    assert latency.get_ylabel() == "median, ms a step"
    # One marker a report, and one bar of the interval for each.
    drawn = draw([own], "time").axes[0].get_lines()
    assert [len(one.get_xdata()) for one in drawn] == [3, 2, 2, 2]
    assert list(drawn[1].get_ydata()) == [step.median_low, step.median_high]


def test_the_command_draws_prints_and_says_json(measured: Report, tmp_path: Path) -> None:
    reports = {"a.json": dated(measured, 1, "v$1"), "b.json": dated(measured, 2, "v2")}
    folder = write(tmp_path / "reports", reports)
    (folder / "list.github.json").write_text("[]")  # of another kind
    (folder / "bad.json").write_bytes(encoded(measured)[:400])
    picture = tmp_path / "history.png"
    done = movinet(folder, "-o", picture)
    assert done.returncode == 0, done.stderr
    with Image.open(picture) as image:
        assert image.size[0] > 1000
        assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 20
    for word in ("small", "v$1", "v2", "2026-11-01 12:00", "reference"):
        assert word in done.stdout
    (line,) = done.stderr.splitlines()
    assert "bad.json" in line
    said = json.loads(CliRunner().invoke(bench, ["history", str(folder), "--json"]).stdout)
    assert said["commits"] == ["v$1", "v2"]
    assert len(said["skipped"]) == 1
    (line,) = said["lines"]
    assert [point["report"] for point in line["points"]] == ["a.json", "b.json"]


def test_what_cannot_be_drawn_is_one_line(measured: Report, tmp_path: Path) -> None:
    folder = write(tmp_path / "reports", {"a.json": dated(measured, 1)})
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([tmp_path / "gone"], "is no folder of reports"),
        ([tmp_path / "empty"], "holds no report that can be used"),
        ([folder, "-o", tmp_path / "x.doc"], "no picture is named *.doc"),
        ([folder, "-o", tmp_path / "x.png", "--over", "commits"], "no report names a commit"),
    ):
        done = CliRunner().invoke(bench, ["history", *map(str, arguments)])
        assert isinstance(done.exception, MovinetError)
        assert message in str(done.exception)
        assert len(str(done.exception).splitlines()) == 1
    assert not list(tmp_path.glob("x.*"))
    undated = replace(dated(measured, 1), run=replace(measured.run, date=None))
    undated = replace(undated, environment=replace(measured.environment, looks=[]))
    write(tmp_path / "undated", {"a.json": undated})
    with pytest.raises(UsageError, match="does not say when it was made"):
        read_reports(tmp_path / "undated")


def test_git_names_the_commit(tmp_path: Path) -> None:
    assert described(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "a"]):
        subprocess.run([*git, *words], check=True)
    commit = described(tmp_path)
    assert commit is not None
    assert len(commit) == 12
    subprocess.run([*git, "tag", "-a", "v9", "-m", "a"], check=True)
    assert described(tmp_path) == "v9"
    (tmp_path / "file").write_text("a")
    subprocess.run([*git, "add", "file"], check=True)
    assert described(tmp_path) == "v9-dirty"
