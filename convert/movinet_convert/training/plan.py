"""What a training does, what is known of it after each epoch, and which epoch is the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.description import MOST_TIMES
from movinet_runtime.errors import UsageError

Metric = Literal["top1", "macro", "map", "stream"]
METRICS: tuple[Metric, ...] = get_args(Metric)
STRIDE = 16  # resolutions on the way up are multiples of it


@dataclass(frozen=True)
class Plan:
    """What to do.

    Attributes:
        epochs: in all.
        freeze: of these, the first ones train only the classifier.
        frames: of a training clip.
        batch: clips.
        rate: peak of the learning rate; it warms up and falls as a cosine,
        final_rate: to this share of the peak.
        start_resolution: side of the pictures in the first third of the released epochs,
            half way up in the second; cheaper, and a kind of regularization
            (progressive learning, arXiv 2104.00298).
        patience: epochs without a better one before it stops.
        best: what makes an epoch the best one: right answers on validation clips (top1), their
            mean over the classes (macro), mean average precision (map), or the state carried
            from clip to clip (stream: top1, or map of classes that do not exclude each other).
        lead_in: frames before most clips, of another one or its own, which do not count:
            the stream has gone on for a while.
        horizon: frames that averages over time remember.
        seed: of order, augmentation and dropout.
        smoothing: label smoothing, 0 to below 1.
        ema: momentum of an average of the weights, which is judged and kept; 0: none.
        weight_cap: a rare class weighs at most so much more than its share.
        prior: of classes that are seen, in use, so many times as often as others.
        keep_statistics: batch norm normalizes by the statistics that the weights came with (or
            that were measured where they came without), as the runtime will, and not by each
            batch's.
        independent: classes do not exclude each other.
    """

    epochs: int
    freeze: int
    frames: int
    batch: int
    rate: float
    final_rate: float
    start_resolution: int
    patience: int
    lead_in: int
    horizon: int
    best: Metric = "top1"
    seed: int = 0
    smoothing: float = 0.1
    ema: float = 0.0
    weight_cap: float = 10.0
    prior: Mapping[str, float] = field(default_factory=dict)
    keep_statistics: bool = False
    independent: bool = False
    weight_decay: float = 0.02
    warmup: float = 0.08  # share of all steps

    def side(self, epoch: int, full: int) -> int:
        """Return the resolution of an epoch: up in three equal parts of the released ones."""
        if self.start_resolution >= full or epoch < self.freeze:
            return full
        third = 3 * (epoch - self.freeze) // max(1, self.epochs - self.freeze)
        side = self.start_resolution + (full - self.start_resolution) * third / 2
        return min(full, round(side / STRIDE) * STRIDE) if third < 2 else full


def read_prior(pairs: Sequence[str], labels: Sequence[str], independent: bool) -> dict[str, float]:
    """Read how many times as often as others classes are seen in use: ``nothing=20``.

    Raises:
        UsageError: no such pair, no such class or the same again, no number above zero, or
            classes that do not exclude each other, which share no prior.
    """
    if pairs and independent:
        raise UsageError("--prior is for classes that exclude each other; others have thresholds")
    prior: dict[str, float] = {}
    for pair in pairs:
        label, equals, times = pair.rpartition("=")
        if not equals:
            raise UsageError(f"--prior {pair}: say CLASS=TIMES, such as nothing=20")
        if label in prior:
            raise UsageError(f"--prior says '{label}' twice")
        if label not in labels:
            raise UsageError(f"--prior {pair}: no class '{label}' in the clips")
        try:
            prior[label] = float(times)
        except ValueError:
            raise UsageError(f"--prior {pair}: '{times}' is no number") from None
        if not 0 < prior[label] <= MOST_TIMES:
            raise UsageError(f"--prior {pair}: TIMES is above 0, {MOST_TIMES:,.0f} at most")
    return prior


def rises(prior: Mapping[str, float], labels: Sequence[str]) -> NDArray[np.float32]:
    """Return what a prior adds to logits, float32 [classes].

    Probabilities are multiplied by how many times as often a class is seen as training took it
    to be, and shared out anew (Saerens et al., Neural Computation 14, 2002, eq. 2.4): logits
    rise by the logarithm.
    """
    return np.log([prior.get(label, 1.0) for label in labels]).astype(np.float32)


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch.

    Attributes:
        loss, accuracy: of training, after every frame, augmented and smoothed.
        val_loss, val_accuracy: cross-entropy and share of right answers after the last frame
            of validation clips.
        val_macro: the mean of the classes' shares.
        val_top5: share of clips with their class among the five best; None up to five classes.
        val_map: mean average precision over the classes.
        val_stream: share of right answers where the state is carried from clip to clip, or
            mean average precision where classes do not exclude each other; None for a base model.
        rate: at the end.
        resolution: side of the training pictures.
        seconds: training and validation.
    """

    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    val_macro: float
    val_top5: float | None
    val_map: float
    val_stream: float | None
    rate: float
    resolution: int
    seconds: float

    def score(self, metric: Metric) -> float:
        """Return what the epoch is chosen by."""
        if metric == "stream" and self.val_stream is not None:
            return self.val_stream
        scores = {"macro": self.val_macro, "map": self.val_map}
        return scores.get(metric, self.val_accuracy)


def default_metric(led: bool, independent: bool) -> Metric:
    """Return what the best epoch is chosen by, if nothing is said."""
    return "stream" if led else "map" if independent else "top1"


def best_epoch(history: Sequence[Epoch], metric: Metric) -> int:
    """Return the number of the best epoch; of equal ones that with the least loss."""
    return max(range(len(history)), key=lambda i: (history[i].score(metric), -history[i].val_loss))


def stops(history: Sequence[Epoch], plan: Plan) -> bool:
    """Whether the plan's patience is over."""
    return bool(history) and len(history) - 1 - best_epoch(history, plan.best) >= plan.patience
