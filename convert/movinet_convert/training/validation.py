"""What a network answers to validation clips: each anew, and in streams that go on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_convert.network import MoViNet, scaled
from movinet_convert.parameters import Array
from movinet_convert.training.batches import Batches

STREAM_CLIPS = 40  # in a row, as `movinet accuracy --mode stream` shows them
LEAST_IN_A_ROW = 10
TOP = 5


@dataclass(frozen=True)
class Answers:
    """Logits after the last frame of clips.

    Attributes:
        truth: int [clips].
        logits: float32 [clips, classes].
    """

    truth: NDArray[np.int64]
    logits: Array

    @property
    def found(self) -> NDArray[np.int64]:
        """The best class of each clip."""
        return np.asarray(self.logits.argmax(axis=1))

    def top1(self) -> float:
        """Share of right answers."""
        return float(np.mean(self.found == self.truth))

    def top5(self) -> float | None:
        """Share of clips with their class among the five best; None up to five classes."""
        if self.logits.shape[1] <= TOP:
            return None
        own = np.take_along_axis(self.logits, self.truth[:, None], axis=1)
        return float(np.mean((self.logits > own).sum(axis=1) < TOP))

    def macro(self) -> float:
        """Mean over the classes that occur of their shares of right answers."""
        right = self.found == self.truth
        return float(np.mean([right[self.truth == label].mean() for label in set(self.truth)]))

    def loss(self) -> float:
        """Mean cross-entropy."""
        shifted = self.logits.astype(np.float64) - self.logits.max(axis=1, keepdims=True)
        own = np.take_along_axis(shifted, self.truth[:, None], axis=1)[:, 0]
        return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - own))

    def average_precisions(self) -> list[float | None]:
        """Return each class's average precision over the clips ranked by its probability.

        The mean of the precision at each of its clips, best first (as in scikit-learn's
        average_precision_score); None for a class without clips.
        """
        shifted = self.logits - self.logits.max(axis=1, keepdims=True)
        share = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
        found: list[float | None] = []
        for label in range(self.logits.shape[1]):
            hits = self.truth[np.argsort(-share[:, label], kind="stable")] == label
            precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
            found.append(float(precision[hits].mean()) if hits.any() else None)
        return found


class Validator:
    """Shows a network its validation clips.

    Args:
        network: with its present weights at each call.
        batches: of validation clips. In the stream form clip ``i`` follows clip ``i - batch``:
            a batch is one clip of so many streams, which begin anew after 40 clips.
        horizon: frames that averages over time remember.
    """

    def __init__(self, network: MoViNet, batches: Batches, horizon: int) -> None:
        self._network, self._batches, self._horizon = network, batches, horizon

    def answers(self) -> tuple[Answers, Answers | None]:
        """Return the answers to each clip alone, and those in streams (base form: None)."""
        truth: list[int] = []
        alone: list[Array] = []
        within: list[Array] = []
        states: Any = None
        for number in range(len(self._batches)):
            video, labels, weights = self._batches[number]
            last = weights.argmax(axis=1)
            clips = np.arange(len(video))
            truth += labels[clips, last].argmax(axis=1).tolist()
            logits, _ = self._network.stream(scaled(video), horizon=self._horizon)
            alone.append(logits.numpy()[clips, last])
            if self._network.spec.streams:
                before = None if number % STREAM_CLIPS == 0 else _first(states, len(video))
                logits, states = self._network.stream(scaled(video), before, horizon=self._horizon)
                within.append(logits.numpy()[clips, last])
        answers = Answers(np.array(truth), np.concatenate(alone))
        return answers, Answers(answers.truth, np.concatenate(within)) if within else None


def _first(states: Mapping[str, Any], streams: int) -> dict[str, Any]:
    """Return the states of the first streams; the last clips are fewer."""
    return {name: state[:streams] if len(state.shape) else state for name, state in states.items()}


def streams_at_once(clips: int, batch: int) -> int:
    """Return how many streams validation clips are shared out to: as many as make them long."""
    return max(1, min(batch, clips // LEAST_IN_A_ROW))
