"""movinet bench: the gate's decisions, the formats, the command line."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image
from typer.testing import CliRunner

from movinet_benchmarks import environment
from movinet_benchmarks.bench_cli import bench
from movinet_benchmarks.environment import Snapshot, disturbances
from movinet_benchmarks.formats import FORMATS
from movinet_benchmarks.gate import Check, checks, grown
from movinet_benchmarks.report import Report, StreamFidelity, Variant, encoded, read_report
from movinet_benchmarks.statistics import Ratio
from movinet_benchmarks.timing import start_cost
from movinet_runtime.errors import MissingPackageError, ModelFileError, UsageError

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]
GOLDENS = Path(__file__).parent / "data" / "bench"
QUIET = Snapshot(100.0, 0.0, 40.0, False, False, 7, 10.0, 1000.0)


@pytest.fixture
def report() -> Report:
    """A small report with fixed figures."""
    return read_report(GOLDENS / "report.json")


def changed(report: Report, **fields: Any) -> Report:
    """The report with other fields in its first variant."""
    first, *others = report.variants
    return replace(report, variants=[replace(first, **fields), *others])


def with_sqnr(variant: Variant, value: float) -> StreamFidelity:
    assert variant.fidelity is not None
    return replace(variant.fidelity, long=replace(variant.fidelity.long, sqnr_db=value))


def verdicts(found: list[Check]) -> list[str]:
    return [check.verdict for check in found if check.verdict != "same"]


def test_deterministic_figures_may_not_grow(report: Report) -> None:
    assert verdicts(checks(report, report, 0.05)) == []
    for field, value in (
        ("partitions", 3),
        ("ops", 999),
        ("state_bytes", 10**7),
        ("file_bytes", 10**8),
        ("ops_outside", {"CAST": 1}),
    ):
        worse = changed(report, **{field: value})
        assert verdicts(checks(report, worse, 0.05)) == ["worse"]
        assert verdicts(checks(worse, report, 0.05)) == ["better"]
    db = report.variants[0].sqnr_db
    assert db is not None
    untrue = changed(report, fidelity=with_sqnr(report.variants[0], db - 2))
    assert any(c.verdict == "worse" and "SQNR" in c.what for c in checks(report, untrue, 0.05))
    fewer = replace(report, variants=report.variants[1:])
    assert any(c.new == "missing" for c in checks(report, fewer, 0.05))
    with pytest.raises(UsageError, match="no variant in common"):
        checks(replace(report, variants=report.variants[:1]), fewer, 0.05)


def test_what_is_no_number_fails_every_gate(report: Report) -> None:
    nan = float("nan")
    assert grown(1, nan) == grown(nan, 1) == "worse"
    assert Ratio(nan, nan, nan).slower_than(0.05)
    for which in ("short", "long"):
        fidelity = report.variants[0].fidelity
        assert fidelity is not None
        one = replace(getattr(fidelity, which), sqnr_db=nan)
        untrue = changed(report, fidelity=replace(fidelity, **{which: one}))
        assert "worse" in verdicts(checks(report, untrue, 0.05))
        assert "worse" in verdicts(checks(untrue, report, 0.05))


def test_times_that_cannot_be_compared_are_not(report: Report) -> None:
    once = replace(
        report, variants=[replace(v, samples_ms=v.samples_ms[:1]) for v in report.variants]
    )
    with pytest.raises(UsageError, match="times of 1 process cannot be compared"):
        checks(report, once, 0.05)
    assert verdicts(checks(report, once, 0.05, times=False)) == []
    paced = replace(report, run=replace(report.run, pace=5.0))
    with pytest.raises(UsageError, match="at full speed, the other at 5 frames a second"):
        checks(report, paced, 0.05)


@pytest.mark.parametrize("form", FORMATS)
def test_formats_are_as_they_were(report: Report, form: str) -> None:
    golden = GOLDENS / {"json": "report.json"}.get(form, f"report.{form}")
    written = re.sub(r"<svg.*</svg>", "<svg/>", FORMATS[form](report), flags=re.DOTALL)
    assert written == golden.read_text("utf-8")


def test_the_interval_beside_a_value_is_that_values(report: Report) -> None:
    """The median's, and none where one process cannot tell."""
    step = report.variants[0].step_ms
    assert step.median_low is not None
    assert step.median_high is not None
    rows = json.loads(FORMATS["github"](report))
    spread = float(rows[0]["range"].removeprefix("± "))
    assert rows[0]["value"] == step.median
    assert spread == pytest.approx((step.median_high - step.median_low) / 2, abs=1e-3)
    alone = changed(report, step_ms=replace(step, median_low=None, median_high=None))
    assert "range" not in json.loads(FORMATS["github"](alone))[0]
    assert "| 2.57 | - |" in FORMATS["markdown"](alone)


def test_the_html_needs_nothing_from_outside(report: Report) -> None:
    page = FORMATS["html"](report)
    assert set(re.findall(r"""(?:href|src)\s*=\s*["']([^#"']+)""", page)) <= {"data:,"}
    assert not re.search(r"url\((?!#)", page)
    assert "<script" not in page
    assert page.count("<svg") == 1
    assert page == FORMATS["html"](report)


@pytest.mark.parametrize("db", [-200.0, -15.0, -10.0, 0.0, 200.0])
def test_any_fidelity_can_be_drawn(report: Report, db: float) -> None:
    """From -20 to -10 dB there was a division by zero."""
    for variant in report.variants:
        fidelity = with_sqnr(variant, db)
        one = replace(report, variants=[replace(variant, name="a$b$<c>", fidelity=fidelity)])
        page = FORMATS["html"](one)
        assert "<c>" not in page
        ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + len("</svg>")])
        assert page.count("a$b$&lt;c&gt;") >= 2  # in the table and in the picture


def changed_json(path: tuple[str | int, ...], value: object) -> Callable[[Any], None]:
    def change(report: Any) -> None:
        for part in path[:-1]:
            report = report[part]
        report[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("version",), 1, "version 1, this is 2"),
        (("schema",), "another", "no report of movinet bench"),
        (("variants",), [], "length >= 1 - at `$.variants`"),
        (("variants", 0), {"name": "a"}, "missing required field `engine` - at `$.variants[0]`"),
        (("variants", 0, "samples_ms"), [], "at `$.variants[0].samples_ms`"),
        (("variants", 1, "samples_ms", 0), [], "at `$.variants[1].samples_ms[0]`"),
        (("variants", 1, "samples_ms", 0, 3), -1.0, "at `$.variants[1].samples_ms[0][3]`"),
        (("variants", 0, "step_ms", "median"), "2", "at `$.variants[0].step_ms.median`"),
        (("variants", 0, "start", "peak_bytes"), None, "at `$.variants[0].start.peak_bytes`"),
        (("variants", 0, "ops_outside"), {"CAST": "x"}, "at `$.variants[0].ops_outside[...]`"),
        (("variants", 0, "fidelity", "long"), 5, "at `$.variants[0].fidelity.long`"),
        (("variants", 0, "arm"), {"x": {}}, "at `$.variants[0].arm[...]`"),
        (("environment", "looks"), 7, "at `$.environment.looks`"),
        (("run", "pace"), 0, "at `$.run.pace`"),
    ],
)
def test_reports_are_checked_to_the_last_field(
    tmp_path: Path, path: tuple[str | int, ...], value: object, message: str
) -> None:
    content = json.loads((GOLDENS / "report.json").read_text())
    changed_json(path, value)(content)
    file = tmp_path / "report.json"
    file.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=re.escape(message)) as raised:
        read_report(file)
    assert str(raised.value).startswith(f"cannot read the report {file}: ")


@pytest.mark.parametrize("content", ["{", "[]", "", "NaN", "\ufeff{}"])
def test_other_files_are_no_reports(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(UsageError, match="cannot read the report"):
        read_report(tmp_path / "report.json")


def test_no_nan_is_read_or_written(tmp_path: Path, report: Report) -> None:
    text = (GOLDENS / "report.json").read_text()
    path = tmp_path / "report.json"
    for word in ("NaN", "Infinity", "1e999", "null"):
        path.write_text(re.sub(r'"sqnr_db": [-\d.]+', f'"sqnr_db": {word}', text, count=1))
        with pytest.raises(UsageError):
            read_report(path)
    for value in (float("nan"), float("inf")):
        untrue = changed(report, fidelity=with_sqnr(report.variants[0], value))
        with pytest.raises(UsageError, match=r"fidelity\.long\.sqnr_db"):
            encoded(untrue)


def test_a_disturbed_run_is_marked() -> None:
    assert disturbances([]) == disturbances([QUIET, QUIET]) == []
    after = Snapshot(110.0, 0.0, 80.0, True, True, 9, 110.0, 500.0)
    found = " ".join(disturbances([QUIET, after]))
    for words in ("hypervisor", "firmware throttled", "throttled itself 2 times", "clock fell"):
        assert words in found
    assert "clock" not in " ".join(disturbances([QUIET, after], steady=False))


def test_throttling_between_two_looks_is_seen() -> None:
    during = replace(QUIET, throttled=True)
    assert disturbances([QUIET, during, QUIET]) == ["the firmware throttled the processor"]
    remembered = replace(QUIET, was_throttled=True)
    assert disturbances([QUIET, remembered]) == ["the firmware throttled the processor"]
    assert disturbances([remembered, remembered]) == []  # before we came
    slow = replace(QUIET, megahertz=600.0)
    assert disturbances([QUIET, slow, QUIET]) == ["the clock fell from 1000 to 600 MHz"]


def test_the_firmwares_flags_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "vcgencmd"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for answer, now, ever in (
        ("throttled=0x0", False, False),
        ("throttled=0x50005", True, True),
        ("throttled=0x40000", False, True),
        ("VCHI initialization failed", None, None),
    ):
        tool.write_text(f"#!/bin/sh\necho '{answer}'\n")
        tool.chmod(0o755)
        look = Snapshot.now()
        assert (look.throttled, look.was_throttled) == (now, ever), answer
    monkeypatch.setattr(environment, "CPU_FOLDER", tmp_path)
    for i in range(2):
        folder = tmp_path / f"cpu{i}" / "thermal_throttle"
        folder.mkdir(parents=True)
        (folder / "core_throttle_count").write_text(f"{i + 2}\n")
    assert Snapshot.now().throttle_events == 5


def test_measure_and_compare(stream_model: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in ("r.json", "r.md", "r.html", "r.github.json")]
    command = [*MOVINET, "bench", stream_model, "--against", stream_model, "--rounds", "2"]
    command += ["--threads", "1,2", "--long-frames", "10", "--processes", "3"]
    for path in outputs:
        command += ["-o", path]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(path.stat().st_size for path in outputs)
    found = read_report(outputs[0])
    assert [variant.threads for variant in found.variants] == [1, 2]
    assert len(found.environment.looks) == 2 + 2 * 3
    for variant in found.variants:
        assert [len(samples) for samples in variant.samples_ms] == [2, 2, 2]
        assert variant.partitions == 1
        assert variant.sqnr_db == 200
        assert 10e6 < variant.start.peak_bytes < 150e6

    def compared(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [*MOVINET, "bench", "compare", *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True)

    assert compared(outputs[0], outputs[0]).returncode == 0
    worse = json.loads(outputs[0].read_text())
    worse["variants"][0]["partitions"] = 5
    (tmp_path / "worse.json").write_text(json.dumps(worse))
    done = compared(outputs[0], tmp_path / "worse.json")
    assert done.returncode == 1
    assert "worse" in done.stdout
    for arguments, message in (
        ((outputs[0], stream_model), "not one of each"),
        ((outputs[0], outputs[1]), "cannot read the report"),
        ((outputs[0], outputs[0], "--fail-if-slower", "much"), "takes 5% or 0.05"),
    ):
        done = compared(*arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_two_models_are_compared_in_fresh_processes(stream_model: Path) -> None:
    command = [*MOVINET, "bench", "compare", str(stream_model), str(stream_model), "--json"]
    command += ["--rounds", "4", "--processes", "3", "--fail-if-slower", "300%"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert not found["worse"]
    assert {check["variant"] for check in found["checks"]} == {"model"}


def test_frames_come_at_a_cameras_pace(stream_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "paced.json"
    command = [*MOVINET, "bench", str(stream_model), "--pace", "20", "--rounds", "3"]
    done = subprocess.run(
        [*command, "--processes", "1", "-o", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "at 20 frames a second, caches cold" in done.stdout
    assert read_report(path).run.pace == 20


def test_a_page_without_matplotlib_is_refused_before_measuring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = CliRunner().invoke(bench, ["gone.tflite", "-o", "report.html"])
    assert isinstance(done.exception, MissingPackageError)
    done = CliRunner().invoke(bench, ["gone.tflite", "-o", "report.md"])
    assert isinstance(done.exception, ModelFileError)


def test_a_model_that_does_not_start_is_named(tmp_path: Path) -> None:
    path = tmp_path / "damaged.tflite"
    path.write_bytes(b"\0\0\0\0TFL3" + bytes(100))
    with pytest.raises(ModelFileError, match=r"damaged.tflite does not start on the engine auto"):
        start_cost(path)


def test_the_page_opens_in_a_browser(report: Report, tmp_path: Path) -> None:
    """Headless Chromium draws it without a word on its console, and nothing is fetched."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium here")
    page = tmp_path / "report.html"
    page.write_text(FORMATS["html"](report), "utf-8")

    def open_page(shot: Path) -> str:
        command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu"]
        command += ["--enable-logging=stderr", f"--user-data-dir={tmp_path}/profile"]
        command += ["--window-size=1300,1400", f"--screenshot={shot}", page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=120).stderr

    assert "CONSOLE" not in open_page(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as picture:
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 20  # bars, dots, text
    page.write_text(page.read_text("utf-8") + "<script>console.error('seen')</script>", "utf-8")
    assert "CONSOLE" in open_page(tmp_path / "again.png")


def test_emulated_cores_are_in_every_format() -> None:
    counted = read_report(GOLDENS / "baseline.json")
    for form, word in (
        ("markdown", "M instr. cortex-a76"),
        ("html", "M instr. cortex-a72"),
        ("github", "a0-stream-half: cortex-a76"),
        ("bencher", "instructions-cortex-a72"),
    ):
        assert word in FORMATS[form](counted), form
