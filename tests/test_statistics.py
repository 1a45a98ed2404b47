"""What many processes say: how often intervals hold, false alarms, and what is caught.

Simulated, so that they fail when the statistics do and not when a machine is busy. The figures
are in docs/benchmarks.md; examples/gate_trial.py tries the same on real files.
"""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from movinet_benchmarks.bench_cli import GATE_PROCESSES, GATE_ROUNDS
from movinet_benchmarks.simulation import (
    SETTINGS,
    UNPAIRED,
    Setting,
    drift,
    simulated,
    steps,
    table_of,
)
from movinet_benchmarks.statistics import Processes, ratio, student, summary
from movinet_benchmarks.timing import HOT_ROUNDS, PROCESSES, Schedule
from movinet_runtime.errors import UsageError


@pytest.mark.parametrize("setting", [*SETTINGS, UNPAIRED], ids=str)
def test_intervals_hold_where_loads_scatter(setting: Setting) -> None:
    """Steps of one load say nothing about the next: 23 of 60 held when they were the unit."""
    found = simulated(setting, 60, seed=1)
    assert found.held >= 54
    assert found.held_of_one_load < found.held - 10
    console = Console(record=True, width=120)
    console.print(table_of([(setting, found)]))
    assert f"{found.held / 60:.1%}" in console.export_text()


def test_the_gate_alarms_and_catches_as_promised() -> None:
    """A/A: 0 of 20 called 5 % slower; a tenth slower: 19 of 20 caught."""
    setting = Setting(GATE_PROCESSES, GATE_ROUNDS, paired=True)
    assert setting in SETTINGS
    found = simulated(setting, 20, seed=1)
    assert found.alarms == 0
    assert found.caught >= 19


@pytest.mark.parametrize("disturbed", ["base", "new"])
def test_a_few_processes_may_be_disturbed(disturbed: str) -> None:
    """Another program takes the core for most of two processes, while one model steps."""
    rng = np.random.default_rng(3)
    alarms = caught = 0
    for _ in range(20):
        machine = drift(rng, SETTINGS[-1])
        base, same, slow = (np.array(steps(rng, machine * cost)) for cost in (1, 1, 1.1))
        for table in (base,) if disturbed == "base" else (same, slow):
            table[[4, 11]] *= 1.8
        alarms += ratio(rows(base), rows(same), paired=True).slower_than(0.05)
        caught += ratio(rows(base), rows(slow), paired=True).slower_than(0.05)
    assert alarms == 0
    assert caught >= 16  # with a plain mean none


def test_the_medians_interval_holds() -> None:
    rng = np.random.default_rng(2)
    still = np.ones((PROCESSES, HOT_ROUNDS))
    truth = float(np.median(steps(rng, np.ones((400, 500)), load=0)))
    held = 0
    for _ in range(60):
        found = summary(steps(rng, still))
        assert found.median_low is not None
        assert found.median_high is not None
        held += found.median_low <= truth <= found.median_high
    assert held >= 54


def test_statistics_have_benchmark_models_names() -> None:
    samples = [5.0, *([1.0, 2.0, 3.0, 4.0, 5.0] * 11)]
    found = summary([samples])
    assert (found.count, found.first, found.min, found.max) == (56, 5.0, 1.0, 5.0)
    assert found.avg == pytest.approx(np.mean(samples))
    assert found.median == pytest.approx(3.0)
    assert found.std == pytest.approx(np.std(samples))
    assert (found.median_low, found.median_high) == (None, None)  # one process cannot tell
    two = summary([[1.0, 1.0, 1.0], [4.0, 4.0, 4.0]])
    assert two.median == pytest.approx(2.0)


def test_students_quantile() -> None:
    for freedom, value in ((2, 4.3027), (4, 2.7764), (9, 2.2622), (19, 2.0930), (1000, 1.9623)):
        assert student(freedom) == pytest.approx(value, rel=0.033 if freedom == 2 else 0.008)


def rows(table: np.ndarray) -> Processes:
    return [list(row) for row in table.tolist()]


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5))
def test_a_ratio_lies_in_its_interval_and_scales(seed: int, factor: float) -> None:
    base, new = np.random.default_rng(seed).gamma(9, 1, (2, 5, 40))
    found = ratio(rows(base), rows(new), paired=False)
    assert found.low <= found.value <= found.high
    scaled = ratio(rows(base), rows(new * factor), paired=False)
    assert scaled.value == pytest.approx(found.value * factor)
    assert scaled.low == pytest.approx(found.low * factor)


@pytest.mark.parametrize(
    "bad", [[], [[]], [[1.0], []], [[1.0, float("nan")]], [[float("inf")]], [[0.0]], [[-1.0]]]
)
def test_what_is_no_measurement_is_refused(bad: Processes) -> None:
    with pytest.raises(UsageError):
        summary(bad)
    with pytest.raises(UsageError):
        ratio(bad, [[1.0]] * 5, paired=False)


def test_one_process_cannot_be_compared() -> None:
    with pytest.raises(UsageError, match="times of 1 process cannot"):
        ratio([[1.0] * 50] * 5, [[1.0] * 50], paired=False)
    with pytest.raises(UsageError, match="times of 2 processes cannot"):
        ratio([[1.0] * 50] * 2, [[1.0] * 50] * 2, paired=True)


def test_the_trial_on_real_files_runs() -> None:
    """One comparison of each kind with few steps; what it finds is in docs/benchmarks.md."""
    path = Path(__file__).parents[1] / "examples" / "gate_trial.py"
    spec = importlib.util.spec_from_file_location("gate_trial", path)
    assert spec is not None
    assert spec.loader is not None
    trial = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(trial)
    with pytest.raises(SystemExit):
        trial.main(1, Schedule(2, 3))
