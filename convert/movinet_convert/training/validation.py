"""What a network answers to validation clips: each anew, and in streams that go on."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_convert.backend import tf
from movinet_convert.network import MoViNet, scaled
from movinet_convert.parameters import Array
from movinet_convert.training.batches import Batches, ahead

STREAM_CLIPS = 40  # in a row, as `movinet accuracy --mode stream` shows them
LEAST_IN_A_ROW = 10
TOP = 5
LEAST = 1e-6  # a threshold's distance from 0 and 1


@dataclass(frozen=True)
class Answers:
    """Logits after the last frame of clips.

    Attributes:
        truth: bool [clips, classes], what the clips show.
        logits: float32 [clips, classes].
        independent: classes do not exclude each other: a clip may show several, or none.
    """

    truth: NDArray[np.bool_]
    logits: Array
    independent: bool = False

    @property
    def found(self) -> NDArray[np.int64]:
        """The best class of each clip."""
        return np.asarray(self.logits.argmax(axis=1))

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the best class of each clip is one that it shows."""
        return np.asarray(np.take_along_axis(self.truth, self.found[:, None], axis=1)[:, 0])

    def top1(self) -> float:
        """Share of right answers, of the clips that show anything."""
        return float(self.right[self.truth.any(axis=1)].mean())

    def top5(self) -> float | None:
        """Share of clips with a class of theirs among the five best; None up to five classes."""
        if self.logits.shape[1] <= TOP:
            return None
        own = np.where(self.truth, self.logits, -np.inf).max(axis=1, keepdims=True)
        within = (self.logits > own).sum(axis=1) < TOP
        return float(within[self.truth.any(axis=1)].mean())

    def macro(self) -> float:
        """Mean over the classes that occur of their shares of right answers."""
        shares = [self.right[shown].mean() for shown in self.truth.T if shown.any()]
        return float(np.mean(shares))

    def loss(self) -> float:
        """Mean cross-entropy; of independent classes, binary and over the classes."""
        logits = self.logits.astype(np.float64)
        if self.independent:
            return float(np.mean(np.logaddexp(0, logits) - self.truth * logits))
        shifted = logits - logits.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(shifted).sum(axis=1)) - shifted[self.truth]))

    def _ranked(self, label: int) -> tuple[NDArray[np.float64], ...]:
        """Rank the clips by a class's probability.

        Returns:
            The scores that differ, best first (of independent classes: logits); precision and
            recall of all clips with at least each of them.
        """
        logits = self.logits.astype(np.float64)
        score = logits[:, label]
        if not self.independent:
            best = logits.max(axis=1)
            score = score - best - np.log(np.exp(logits - best[:, None]).sum(axis=1))
        order = np.argsort(-score)
        ends = np.flatnonzero(np.diff(score[order], append=-np.inf))
        right = np.cumsum(self.truth[order, label])
        return score[order][ends], right[ends] / (ends + 1), right[ends] / right[-1]

    def average_precisions(self) -> list[float | None]:
        """Return each class's average precision over the clips ranked by its probability.

        The mean of the precisions at each probability, weighted by the recall that it adds (as
        scikit-learn's average_precision_score); None for a class without clips.
        """
        found: list[float | None] = []
        for label, shown in enumerate(self.truth.T):
            if not shown.any():
                found.append(None)
                continue
            _, precision, recall = self._ranked(label)
            found.append(float((np.diff(recall, prepend=0.0) * precision).sum()))
        return found

    def mean_average_precision(self) -> float:
        """Return the mean of the average precisions of the classes that occur."""
        return float(np.mean([one for one in self.average_precisions() if one is not None]))

    def thresholds(self) -> list[float]:
        """Return for each independent class the probability from which on it is an answer.

        The one with the best F1 on these clips, half way (in logits) to the next lower
        probability; 0.5 for a class that no clip, or every clip, shows.
        """
        found = []
        for label, shown in enumerate(self.truth.T):
            if shown.all() or not shown.any():
                found.append(0.5)
                continue
            logits, precision, recall = self._ranked(label)
            best = int(np.argmax(2 * precision * recall / np.maximum(precision + recall, 1e-9)))
            below = logits[best + 1] if best + 1 < len(logits) else logits[best] - 1
            between = (logits[best] + below) / 2
            found.append(float(np.clip(1 / (1 + np.exp(-between)), LEAST, 1 - LEAST)))
        return found


class Validator:
    """Shows a network its validation clips.

    Args:
        network: with its present weights at each call.
        batches: of validation clips. In the stream form clip ``i`` follows clip ``i - batch``:
            a batch is one clip of so many streams, which begin anew after 40 clips.
        horizon: frames that averages over time remember.
        independent: see :class:`Answers`.
    """

    def __init__(
        self, network: MoViNet, batches: Batches, horizon: int, independent: bool = False
    ) -> None:
        self._network, self._batches, self._independent = network, batches, independent

        def stream(video: Any, states: Any) -> Any:
            return network.stream(scaled(video), states, horizon=horizon)

        # Compiled, a quarter of the time of operator by operator.
        self._stream = tf.function(stream, reduce_retracing=True)

    def answers(self) -> tuple[Answers, Answers | None]:
        """Return the answers to each clip alone, and those in streams (base form: None)."""
        truth: list[Array] = []
        alone: list[Array] = []
        within: list[Array] = []
        states: Any = None
        for number, (video, labels, weights) in enumerate(ahead(self._batches)):
            last = weights.argmax(axis=1)
            clips = np.arange(len(video))
            truth.append(labels[clips, last] > 0)
            logits, after = self._stream(video, None)
            alone.append(logits.numpy()[clips, last])
            if self._network.spec.streams:
                if number % STREAM_CLIPS:
                    logits, after = self._stream(video, _first(states, len(video)))
                states = after
                within.append(logits.numpy()[clips, last])
        answers = Answers(np.concatenate(truth), np.concatenate(alone), self._independent)
        return answers, replace(answers, logits=np.concatenate(within)) if within else None


def _first(states: Mapping[str, Any], streams: int) -> dict[str, Any]:
    """Return the states of the first streams; the last clips are fewer."""
    return {name: state[:streams] if len(state.shape) else state for name, state in states.items()}


def streams_at_once(clips: int, batch: int) -> int:
    """Return how many streams validation clips are shared out to: as many as make them long."""
    return max(1, min(batch, clips // LEAST_IN_A_ROW))
