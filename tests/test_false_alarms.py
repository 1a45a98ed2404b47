"""Events where nothing happens: what counts as one, and as a miss."""

from dataclasses import dataclass

import numpy as np

from movinet_benchmarks import motion
from movinet_benchmarks.false_alarms import ACT, PAUSE, acted_shots, idle_shots, watch
from movinet_models import embedded
from movinet_models.figures import ACTIONS, IDLE
from movinet_runtime.classifier import Prediction, StreamModel
from movinet_runtime.watch.config import MotionConfig

LABELS = sorted(ACTIONS)


@dataclass
class Scripted:
    """Says one label from one second to another, and nothing else."""

    says: list[tuple[float, float, str]]
    size: tuple[int, int] = (32, 32)
    fps: float = 5.0
    index: int = -1

    def stream(self) -> "Scripted":
        return self

    def step(self, picture: np.ndarray) -> Prediction:
        assert picture.shape == (32, 32, 3)
        self.index += 1
        time = self.index / self.fps
        logits = np.zeros(len(LABELS), np.float32)
        for begin, end, label in self.says:
            logits[LABELS.index(label)] += 9.0 * (begin <= time < end)
        return Prediction(self.index, logits, LABELS, time)


def test_what_counts() -> None:
    """Three actions: one found, one found as another, one missed; and one out of the blue."""
    stand = ("", IDLE["standing"], PAUSE)
    shots = [[stand, ("squat", ACTIONS["squat"], ACT), stand, ("lunge", ACTIONS["lunge"], ACT)],
             [stand, ("clapping", ACTIONS["clapping"], ACT)]]  # fmt: skip
    says = [(7.0, 10.0, "squat"), (16.5, 19.0, "high kick"), (22.0, 23.5, "squat")]
    found = watch(Scripted(says), "a stream", shots)  # type: ignore[arg-type]
    assert (found.actions, found.found, found.alarms) == (3, 1, 2)
    assert found.hours == (3 * PAUSE + 3 * ACT) / 3600
    assert found.alarms_an_hour == 2 / found.hours


def test_an_idle_stream_has_no_actions() -> None:
    shots = idle_shots(IDLE["an empty scene"], 2)
    assert len(shots) == 2
    found = watch(Scripted([]), "nobody", shots)  # type: ignore[arg-type]
    assert (found.actions, found.found, found.alarms) == (0, 0, 0)


def test_every_action_comes() -> None:
    names = [label for shot in acted_shots(20) for label, _, _ in shot if label]
    assert set(names) == set(ACTIONS)


def test_a_gate_rests_where_nothing_moves() -> None:
    """The same pictures with and without it: what happens is found all the same."""
    empty = ("", IDLE["an empty scene"], 8.0)
    shots = [[empty, ("squat", ACTIONS["squat"], ACT), empty]]
    plain, gated = motion.watch(
        StreamModel(embedded.MODEL, threads=1), "a stream", shots, [None, MotionConfig()], 10.0
    )
    assert (plain.frames, plain.steps) == (100, 100)
    assert (plain.actions, plain.found) == (gated.actions, gated.found) == (1, 1)
    # At the start, while it goes on, and three seconds after both.
    assert 45 < gated.steps < 65
