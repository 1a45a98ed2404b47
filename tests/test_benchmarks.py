"""The benchmark's parts run, with two rounds: what they measure is not for tests."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from movinet_benchmarks import footprint, peers
from movinet_benchmarks.pairs import Effort, bare_invoke, row_of, signature_step
from movinet_benchmarks.process.memory import peak_bytes, resident_bytes
from movinet_benchmarks.process.race import MOST_OTHER, Pace, interleaved, other_bytes
from movinet_benchmarks.timing import run_module
from movinet_models import embedded
from movinet_runtime import StreamClassifier


def test_steps_are_timed_interleaved(stream_model: Path) -> None:
    frames = list(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8))
    ours, theirs = StreamClassifier(stream_model), signature_step(stream_model)
    for frame in frames:  # both carry the state
        logits = np.asarray(theirs(frame))[0]
        np.testing.assert_allclose(ours.step(frame).logits, logits, atol=1e-3)
    steps = {"ours": ours.step, "theirs": theirs, "bare": bare_invoke(stream_model)}
    times = interleaved(steps, frames, rounds=2)
    assert times.keys() == steps.keys()
    assert all(len(values) == 2 and (values > 0).all() for values in times.values())


class Clock:
    """Time that passes only when someone sleeps or works."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_a_camera_waits_for_nobody() -> None:
    """A frame each fifth of a second; who takes longer misses one, and is not rushed then."""
    clock = Clock()
    pace = Pace(0.2, 1 << 16, lambda: clock.now, clock.sleep)
    starts = []
    for work in (0.05, 0.05, 0.5, 0.05, 0.0):
        pace.wait()
        starts.append(round(clock.now, 3))
        clock.now += work
    assert starts == [0.2, 0.4, 0.6, 1.1, 1.3]
    assert pace.touched == 5 << 16


def test_every_model_gets_the_cameras_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[float] = []

    class Noted(Pace):
        def __init__(self, seconds: float, other: int) -> None:
            made.append(seconds)
            super().__init__(0.0, 8)

    monkeypatch.setattr("movinet_benchmarks.process.race.Pace", Noted)
    frame = [np.zeros((4, 4, 3), np.uint8)]
    steps = {"a": lambda f: None, "b": lambda f: None}
    assert set(interleaved(steps, frame, 3, pace=5)) == {"a", "b"}
    assert made == [0.1]  # two models take turns within a frame's time


def test_other_memory_is_larger_than_the_caches(tmp_path: Path) -> None:
    assert other_bytes(tmp_path) == 16 << 20  # the system does not tell
    for i, size in enumerate(("32K", "1024K", "24M")):
        folder = tmp_path / f"cpu0/cache/index{i}"
        folder.mkdir(parents=True)
        (folder / "size").write_text(f"{size}\n")
    assert other_bytes(tmp_path) == 48 << 20
    (tmp_path / "cpu0/cache/index2/size").write_text("300M\n")
    assert other_bytes(tmp_path) == MOST_OTHER


def test_ratios_have_intervals_over_processes() -> None:
    rng = np.random.default_rng(0)
    runs = [
        {"paced": {"ours": rng.normal(2, 0.1, 12), "google": rng.normal(4, 0.1, 12)}}
        for _ in range(7)
    ]
    row = row_of(runs)
    low, high = row["paced_google_ratio_95"]
    assert low < row["paced_google_ratio"] < high
    assert row["paced_google_ratio"] == pytest.approx(0.5, abs=0.03)
    assert "paced_ratio" not in row  # no peer there


def test_a_childs_memory_is_its_own(stream_model: Path) -> None:
    """However large the parent was: ru_maxrss would say so."""
    ballast = np.ones(400 << 20, np.uint8)
    assert peak_bytes() > ballast.nbytes
    start = run_module("start", (str(stream_model), "auto", "1"))
    assert 10e6 < start["peak_bytes"] < 200e6
    assert resident_bytes() > 10e6


@pytest.fixture
def short_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not 500 frames, nor all variants, and figures as of emulated boards (tests/test_arm.py)."""
    counted = dict.fromkeys(peers.BOARDS, 20.0)
    monkeypatch.setattr(
        peers, "instructions", lambda models, images: {name: dict(counted) for name in models}
    )
    monkeypatch.setattr(peers, "LONG_FRAMES", 20)
    some = {name: peers.VARIANTS[name] for name in ("float32", "half", "dynamic", "dynamic-si8")}
    monkeypatch.setattr(peers, "VARIANTS", some)
    monkeypatch.setattr(peers, "REFERENCE", tuple(some.values()))


@pytest.mark.usefixtures("short_benchmark")
def test_the_readmes_benchmark_runs(shared: Path, tmp_path: Path) -> None:
    results = peers.results_of(shared, tmp_path, Effort(2, 2, 1, pace=20))
    for variant, theirs in peers.VARIANTS.items():
        row, peer = results["models"][variant], results["models"][f"reference {theirs}"]
        for what in ("step", "paced", "google", "paced_google"):
            assert row[f"{what}_ratio"] > 0
        assert row["mb"] <= 1.01 * peer["mb"]
        assert row["short_db"] >= 30, variant
    assert results["models"]["float32"]["short_db"] > 100
    assert results["models"]["float32"]["same_label"] == 1
    assert results["models"]["reference float32"]["short_db"] > 60
    assert results["models"][peers.GOOGLE]["paced_ms"] > 0
    Console().print(peers.table_of(results))
    assert "| Google's int8 | " in peers.headline(results)
    peers.picture(results, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").stat().st_size > 10_000


@pytest.mark.usefixtures("short_benchmark")
def test_without_the_references_files_ours_are_measured_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = {name: peers.VARIANTS[name] for name in ("float32", "dynamic")}
    monkeypatch.setattr(peers, "VARIANTS", two)
    results = peers.results_of(None, tmp_path, Effort(2, 2, 1, pace=20))
    assert results["models"].keys() == peers.VARIANTS.keys()
    for variant, row in results["models"].items():
        assert row["step_ms"] > 0
        assert row["paced_ms"] > 0
        assert "step_ratio" not in row
        assert row["short_db"] >= 30, variant
    console = Console(record=True, width=200)
    console.print(peers.table_of(results))
    assert "embedded weights" in console.export_text()
    peers.picture(results, tmp_path / "bench.png")


def test_the_runtimes_footprint_is_measured() -> None:
    """Two of its parts, small: memory over few steps, a 720p video."""
    assert footprint.endurance(embedded.MODEL, steps=500) < 2
    found = footprint.video(embedded.MODEL)
    assert found["frames"] == footprint.SECONDS * footprint.FPS
    assert set(found["milliseconds"]) >= {"decode", "resize", "infer", "output"}


def test_a_cameras_pace_is_taken_apart(stream_model: Path) -> None:
    words = [str(stream_model), "--processes", "1", "--rounds", "2", "--threads", "1", "--json"]
    command = [sys.executable, "-m", "movinet_benchmarks.pace", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert row["model"] == stream_model.stem
    assert list(row["conditions"]) == ["hot", "cold caches", "slept", "camera"]
    assert all(one["ms"] > 0 for one in row["conditions"].values())
    assert row["conditions"]["hot"]["faults"] == 0
    done = subprocess.run([*command, "--threads", "0"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
