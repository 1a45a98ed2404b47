"""How often the statistics are right: simulated loads on a simulated machine, a known truth.

``python -m movinet_benchmarks.simulation`` prints the table of docs/benchmarks.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from movinet_benchmarks.statistics import ratio

Array = NDArray[np.float64]

LOAD = 0.03  # what one load's luck is worth, standard deviation
ALLOWED, SLOWER = 0.05, 1.1
TRIALS = 200


@dataclass(frozen=True)
class Setting:
    """How two models are compared: processes, steps in each, in the same processes or not."""

    processes: int
    rounds: int
    paired: bool


@dataclass(frozen=True)
class Outcome:
    """Of a number of comparisons.

    Attributes:
        held: intervals that hold the true ratio, 1.
        held_of_one_load: the same, of as many steps of a single load.
        width: half of an interval, mean.
        alarms: the same model called slower than allowed.
        caught: a model that takes a tenth longer called slower than allowed.
    """

    trials: int
    held: int
    held_of_one_load: int
    width: float
    alarms: int
    caught: int


SETTINGS = (Setting(5, 60, True), Setting(10, 60, True), Setting(24, 100, True))
UNPAIRED = Setting(10, 60, False)


def drift(rng: np.random.Generator, setting: Setting) -> Array:
    """A machine that takes once to twice the time, and wanders between.

    Reports of different times are compared on a quiet one: nothing can tell its drift.
    """
    shape = (setting.processes, setting.rounds)
    if not setting.paired:
        return np.ones(shape)
    walk = np.cumsum(rng.standard_normal(shape).ravel()).reshape(shape) / 20
    return np.asarray(1.5 + 0.5 * np.sin(walk))


def steps(rng: np.random.Generator, machine: Array, load: float = LOAD) -> list[list[float]]:
    """Two milliseconds with spikes, each load's luck, and what the machine does to everything."""
    quiet = 2 + 0.05 * rng.standard_normal(machine.shape) + rng.exponential(0.2, machine.shape)
    luck = np.exp(rng.normal(0, load, (len(machine), 1)))
    table: list[list[float]] = (quiet * luck * machine).tolist()
    return table


def simulated(setting: Setting, trials: int, seed: int = 0) -> Outcome:
    """Compare a model with itself and with a slower one, again and again."""
    rng = np.random.default_rng(seed)
    held = held_of_one_load = alarms = caught = 0
    widths = []
    for _ in range(trials):
        machine = drift(rng, setting)
        base, same = steps(rng, machine), steps(rng, machine)
        slow = steps(rng, SLOWER * machine)
        found = ratio(base, same, setting.paired)
        held += found.low <= 1 <= found.high
        widths.append((found.high - found.low) / 2)
        alarms += found.slower_than(ALLOWED)
        caught += ratio(base, slow, setting.paired).slower_than(ALLOWED)
        luck = np.exp(rng.normal(0, LOAD, 2))
        once = [(np.array(steps(rng, machine, load=0)) * value).tolist() for value in luck]
        one_load = ratio(once[0], once[1], setting.paired)
        held_of_one_load += one_load.low <= 1 <= one_load.high
    width = float(np.mean(widths))
    return Outcome(trials, held, held_of_one_load, width, alarms, caught)


def table_of(outcomes: Sequence[tuple[Setting, Outcome]]) -> Table:
    """A row a setting."""
    table = Table(box=None, pad_edge=False)
    for column in ("processes × steps", "paired", "held", "of one load", "± ", "alarms", "caught"):
        table.add_column(column, justify="right")
    for setting, one in outcomes:
        table.add_row(
            f"{setting.processes} × {setting.rounds}",
            "yes" if setting.paired else "no",
            f"{one.held / one.trials:.1%}",
            f"{one.held_of_one_load / one.trials:.1%}",
            f"{one.width:.1%}",
            f"{one.alarms} of {one.trials}",
            f"{one.caught / one.trials:.1%}",
        )
    return table


def main() -> None:
    """Print the table."""
    settings = (*SETTINGS, UNPAIRED)
    Console().print(table_of([(one, simulated(one, TRIALS)) for one in settings]))


if __name__ == "__main__":
    main()
