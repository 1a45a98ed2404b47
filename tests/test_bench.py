"""movinet bench: statistics, the gate's decisions, the formats, the command line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from movinet_benchmarks.environment import Snapshot, disturbances
from movinet_benchmarks.formats import FORMATS
from movinet_benchmarks.gate import compare
from movinet_benchmarks.report import read_report
from movinet_benchmarks.statistics import ratio, summary
from movinet_runtime.errors import UsageError

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]
GOLDENS = Path(__file__).parent / "data" / "bench"


def noisy(rng: np.random.Generator, count: int, drift: np.ndarray) -> np.ndarray:
    """Two milliseconds, spikes, and what the machine does to everything at that moment."""
    quiet = 2 + 0.05 * rng.standard_normal(count) + rng.exponential(0.2, count)
    return np.asarray(quiet * drift)


@pytest.fixture
def report() -> dict[str, Any]:
    """A small report with fixed figures."""
    return read_report(GOLDENS / "report.json")


def test_statistics_have_benchmark_models_names() -> None:
    samples = np.array([5.0, *([1.0, 2.0, 3.0, 4.0, 5.0] * 11)])
    found = summary(samples)
    assert (found.count, found.first, found.min, found.max) == (56, 5.0, 1.0, 5.0)
    assert (found.avg, found.median) == (samples.mean(), 3.0)
    assert found.std == pytest.approx(samples.std())
    assert found.avg_low < 3.03 < found.avg_high


def test_the_gate_holds_on_a_noisy_machine() -> None:
    """By turns on a machine whose speed wanders by half: no false alarm, no miss."""
    false_alarms = misses = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        drift = 1 + 0.5 * np.abs(np.cumsum(rng.standard_normal(400)) / 20)
        base, same, slow = (noisy(rng, 400, drift) for _ in range(3))
        false_alarms += ratio(base, same, paired=True).slower_than(0.05)
        misses += not ratio(base, slow * 1.1, paired=True).slower_than(0.05)
    assert false_alarms == 0
    assert misses <= 1


@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5))
def test_a_ratio_lies_in_its_interval_and_scales(seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    base, new = rng.gamma(9, 1, (2, 100))
    found = ratio(base, new, paired=False)
    assert found.low <= found.value * 1.02
    assert found.high >= found.value * 0.98
    scaled = ratio(base, new * factor, paired=False)
    assert scaled.value == pytest.approx(found.value * factor)


def test_deterministic_figures_may_not_grow(report: dict[str, Any]) -> None:
    assert not [c for c in compare(report, report, 0.05) if c.verdict != "same"]
    for field, value in (
        ("partitions", 3),
        ("ops", 999),
        ("state_bytes", 10**7),
        ("file_bytes", 10**8),
        ("ops_outside", {"CAST": 1}),
    ):
        worse = json.loads(json.dumps(report))
        worse["variants"][0][field] = value
        assert [c.verdict for c in compare(report, worse, 0.05) if c.verdict != "same"] == ["worse"]
        assert [c.verdict for c in compare(worse, report, 0.05) if c.verdict != "same"] == [
            "better"
        ]
    untrue = json.loads(json.dumps(report))
    untrue["variants"][0]["fidelity"]["long"]["sqnr_db"] -= 2
    assert any(c.verdict == "worse" and "SQNR" in c.what for c in compare(report, untrue, 0.05))
    fewer = report | {"variants": report["variants"][1:]}
    assert any(c.new == "missing" for c in compare(report, fewer, 0.05))
    with pytest.raises(UsageError, match="no variant in common"):
        compare(report | {"variants": report["variants"][:1]}, fewer, 0.05)


@pytest.mark.parametrize("form", FORMATS)
def test_formats_are_as_they_were(report: dict[str, Any], form: str) -> None:
    golden = GOLDENS / {"json": "report.json"}.get(form, f"report.{form}")
    assert FORMATS[form](report) == golden.read_text("utf-8")


def test_the_html_needs_nothing_from_outside(report: dict[str, Any]) -> None:
    page = FORMATS["html"](report)
    assert "http" not in page
    assert "<script" not in page
    assert page.count("<svg") == 2


def test_reports_are_checked(tmp_path: Path, report: dict[str, Any]) -> None:
    path = tmp_path / "report.json"
    for content, message in (
        ("{", "cannot read"),
        ("[]", "no report of movinet bench"),
        (json.dumps(report | {"version": 9}), "version 9"),
        (json.dumps(report | {"variants": []}), "needs variants"),
        (json.dumps(report | {"variants": [{"name": "a"}]}), "lacks 'engine'"),
    ):
        path.write_text(content)
        with pytest.raises(UsageError, match=message):
            read_report(path)


def test_a_disturbed_run_is_marked() -> None:
    quiet = Snapshot(100.0, 0.0, 40.0, False, 10.0, 1000.0)
    assert disturbances(quiet, quiet) == []
    after = Snapshot(110.0, 0.0, 80.0, True, 110.0, 500.0)
    found = " ".join(disturbances(quiet, after))
    assert all(word in found for word in ("hypervisor", "throttled", "clock fell"))


def test_measure_and_compare(stream_model: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in ("r.json", "r.md", "r.html", "r.github.json")]
    command = [*MOVINET, "bench", stream_model, "--against", stream_model, "--rounds", "2"]
    command += ["--threads", "1,2", "--long-frames", "10"]
    for path in outputs:
        command += ["-o", path]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(path.stat().st_size for path in outputs)
    found = read_report(outputs[0])
    assert [variant["threads"] for variant in found["variants"]] == [1, 2]
    for variant in found["variants"]:
        assert len(variant["samples_ms"]) == 2
        assert variant["partitions"] == 1
        assert variant["fidelity"]["long"]["sqnr_db"] == 200
        assert 10e6 < variant["start"]["peak_bytes"] < 150e6

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


def test_the_page_opens_in_a_browser(report: dict[str, Any], tmp_path: Path) -> None:
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
        ("github", "a0-stream-mixed: cortex-a76"),
        ("bencher", "instructions-cortex-a72"),
    ):
        assert word in FORMATS[form](counted), form
