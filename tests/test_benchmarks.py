"""The benchmark's parts run, with two rounds: what they measure is not for tests."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from movinet_benchmarks import footprint, peers
from movinet_benchmarks.peers import bare_invoke, signature_step
from movinet_benchmarks.timing import interleaved
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


@pytest.fixture
def short_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not 500 frames, and without the emulated boards (tests/test_arm.py)."""
    monkeypatch.setattr(peers, "instructions", lambda models, images: {n: {} for n in models})
    monkeypatch.setattr(peers, "LONG_FRAMES", 20)


@pytest.mark.usefixtures("short_benchmark")
def test_the_readmes_benchmark_runs(shared: Path, tmp_path: Path) -> None:
    results = peers.measure(shared, tmp_path, rounds=2, processes=1)
    for variant, theirs in peers.VARIANTS.items():
        row, peer = results["models"][variant], results["models"][f"reference {theirs}"]
        assert row["step_ratio"] > 0
        assert row["mb"] <= 1.01 * peer["mb"]
        assert row["short_db"] >= 30, variant
    assert results["models"]["float32"]["short_db"] > 100
    assert results["models"]["reference float32"]["short_db"] > 60
    Console().print(peers.table_of(results))
    peers.picture(results, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").stat().st_size > 10_000


@pytest.mark.usefixtures("short_benchmark")
def test_without_the_references_files_ours_are_measured_alone(tmp_path: Path) -> None:
    results = peers.measure(None, tmp_path, rounds=2, processes=1)
    assert results["models"].keys() == peers.VARIANTS.keys()
    for variant, row in results["models"].items():
        assert row["step_ms"] > 0
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
