"""The training loop: phases, epochs, checkpoints and the end."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from movinet_convert.backend import keras, skip_graph_optimization
from movinet_convert.network import MoViNet, scaled
from movinet_convert.norm import FusedNorm, Moments
from movinet_convert.training.batches import NONE, Batches, ahead
from movinet_convert.training.checkpoint import Checkpoint, Saved, restore
from movinet_convert.training.devices import Devices, one_device
from movinet_convert.training.plan import Epoch, Plan, best_epoch, rises, stops
from movinet_convert.training.reading import Augmentation, Cache
from movinet_convert.training.step import Step
from movinet_convert.training.validation import Answers, Validator, streams_at_once
from movinet_models.clips import TRAIN, VALIDATION, Collection, LabelledClip
from movinet_runtime.errors import UsageError

STATISTICS_BATCHES = 8
SAVE_EVERY = 600.0  # seconds within an epoch


class Training:
    """A network on its way through a plan.

    Attributes:
        history: of finished epochs.
        train, validation: the batches.

    Args:
        network: with a classifier for the clips' labels.
        clips: readable ones, with splits.
        plan: how.
        augmentation: of training clips.
        checkpoint: written after every epoch, and
        save_every: within one after so many seconds.
        devices: that compute; the network was made in their scope.
        pool: of processes that read clips.
        cache: folder of small copies of the clips.
    """

    def __init__(
        self,
        network: MoViNet,
        clips: Collection,
        plan: Plan,
        augmentation: Augmentation,
        checkpoint: Checkpoint,
        save_every: float = SAVE_EVERY,
        devices: Devices | None = None,
        pool: Executor | None = None,
        cache: Path | None = None,
    ) -> None:
        keras.utils.set_random_seed(plan.seed)
        skip_graph_optimization()
        self.network, self.plan = network, plan
        for norm in norms(network):
            norm.kept = plan.keep_statistics
        self._devices = devices or one_device()
        self.train, self.validation = _batches(
            network, clips, plan, augmentation, self._devices, pool, cache
        )
        self.history: list[Epoch] = []
        self._checkpoint, self._save_every = checkpoint, save_every
        self._validator = Validator(network, self.validation, plan.horizon, plan.independent)
        self._best: list[Any] = []
        self._partial = Saved()  # of the epoch that a stopped training was in
        self._restored: list[Any] | None = None  # variables of its optimizer

    @property
    def broken(self) -> dict[str, str]:
        """Clips that turned out to be unreadable, and why."""
        return self.train.broken | self.validation.broken

    def resume(self) -> None:
        """Go to where the checkpoint is.

        Raises:
            UsageError: it is damaged, or of another training.
        """
        self._partial = self._checkpoint.read()
        self.history = self._partial.history
        restore(self.network.variables, self._partial.arrays["weights"], "weights")
        self._best = self._partial.arrays["best"]
        self._restored = self._partial.arrays["optimizer"]

    def run(
        self,
        on_step: Callable[[int, int], None] = lambda done, steps: None,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ) -> Answers:
        """Train; the network ends with the weights of its best epoch, and the plan's prior.

        Args:
            on_step: called after each, with how many of an epoch's steps are done.
            on_epoch: called after each.

        Returns:
            What these weights answer to the validation clips.

        Raises:
            MovinetError: clips cannot be read, or another machine has stopped.
        """
        plan = self.plan
        for first, last, frozen in ((0, plan.freeze, True), (plan.freeze, plan.epochs, False)):
            if len(self.history) >= last or stops(self.history, plan):
                continue
            steps = len(self.train) * (last - first)
            step = Step(self.network, self._devices, plan, steps, frozen)
            begun = len(self.history) > first or self._partial.steps > 0
            if self._restored is not None and begun:
                restore(step.optimizer.variables, self._restored, "optimizer's variables")
            self._restored = None
            while len(self.history) < last and not stops(self.history, plan):
                on_epoch(self._epoch(step, on_step))
        restore(self.network.variables, self._best, "weights")
        adopt_prior(self.network, plan.prior)
        return self._validator.answers()[0]

    def _epoch(self, step: Step, on_step: Callable[[int, int], None]) -> Epoch:
        number, plan, partial = len(self.history), self.plan, self._partial
        self._partial = Saved()
        self.train.epoch = number
        self.train.side = plan.side(number, self.network.spec.resolution)
        began = saved = time.perf_counter()
        steps = len(self.train)
        totals = np.array([partial.loss, partial.accuracy]) * partial.steps
        for done, batch in enumerate(ahead(self.train, partial.steps), start=partial.steps + 1):
            totals += step(*batch)
            on_step(done, steps)
            if done < steps and time.perf_counter() - saved >= self._save_every:
                self._save(step, done, *(totals / done))
                saved = time.perf_counter()
        raw = _values(self.network)
        if plan.ema:  # judged in the weights' place
            step.optimizer.finalize_variable_values(self.network.trainable_variables)
        loss, accuracy = totals / steps
        judged = self._judged()
        epoch = Epoch(
            loss=round(loss, 5),
            accuracy=round(accuracy, 5),
            **judged,
            rate=float(step.optimizer.learning_rate),
            resolution=self.train.side,
            seconds=round(time.perf_counter() - began, 1),
        )
        self.history.append(epoch)
        if best_epoch(self.history, plan.best) == number:
            self._best = _values(self.network)
        if plan.ema:
            restore(self.network.variables, raw, "weights")
        self._save(step)
        return epoch

    def _judged(self) -> dict[str, Any]:
        """Judge by the validation clips; on several machines by what the first one finds."""
        alone, streams = self._validator.answers()
        found = {
            "val_loss": alone.loss(),
            "val_accuracy": alone.top1(),
            "val_macro": alone.macro(),
            "val_top5": alone.top5(),
            "val_map": alone.mean_average_precision(),
            "val_stream": None if streams is None else _score(streams),
        }
        known = [name for name, value in found.items() if value is not None]
        agreed = self._devices.gathered([found[name] or 0.0 for name in known])[0]
        return found | {
            name: round(float(value), 5) for name, value in zip(known, agreed, strict=True)
        }

    def _save(self, step: Step, done: int = 0, loss: float = 0.0, accuracy: float = 0.0) -> None:
        if not self._devices.first:
            return
        arrays = {
            "weights": _values(self.network),
            "optimizer": [variable.numpy() for variable in step.optimizer.variables],
            "best": self._best,
        }
        self._checkpoint.save(Saved(self.history, done, loss, accuracy, arrays))


def some_batches(train: Batches) -> Iterable[Any]:
    """Return the batches that :func:`restore_statistics` measures."""
    whole = replace(train, part=(0, 1))  # the same on all machines
    return (whole[i] for i in range(min(STATISTICS_BATCHES, len(whole))))


def restore_statistics(network: MoViNet, batches: Iterable[Any]) -> None:
    """Give batch norm the statistics that were lost when it was folded into kernels.

    A folded layer computes conv(x) + bias, which is a batch norm with any mean m and variance v
    if gamma = sqrt(v + epsilon) and beta = bias + m. With m and v as they are in the clips,
    training, which normalizes by each batch's own, begins near the same function; with the 0 and
    1 of the file it would begin far from it.

    Args:
        network: of weights that were read from a TFLite file; answers as before afterwards.
        batches: of (video uint8 [batch, time, h, w, 3], ...).
    """
    measured = norms(network)
    for norm in measured:
        norm.observed = Moments()
    for video, *_ in batches:
        network.stream(scaled(video))
    for norm in measured:
        norm.adopt()


def adopt_prior(network: MoViNet, prior: Mapping[str, float]) -> None:
    """Answer as is right where classes are not seen equally often, and say so in the file.

    Args:
        network: with labels; its classifier's bias is changed.
        prior: of labels (:func:`movinet_convert.training.plan.rises`).
    """
    if prior and network.labels:
        network.parameters()["classifier/bias"].assign_add(rises(prior, network.labels))
        network.prior = dict(prior)


def norms(network: MoViNet) -> list[FusedNorm]:
    """Return a network's batch norms."""
    return [layer for layer in network._flatten_layers() if isinstance(layer, FusedNorm)]


def _batches(
    network: MoViNet,
    clips: Collection,
    plan: Plan,
    augmentation: Augmentation,
    devices: Devices,
    pool: Executor | None,
    cache: Path | None,
) -> tuple[Batches, Batches]:
    spec, train, held = network.spec, clips.of(TRAIN), clips.of(VALIDATION)
    counts = Counter(label for clip in train for label in clip.labels or (NONE,))
    fair = {label: counts.total() / (len(counts) * count) for label, count in counts.items()}
    balance = {label: min(weight, plan.weight_cap) for label, weight in fair.items()}
    # Streams change their class from clip to clip.
    mixed = [held[i] for i in np.random.default_rng(plan.seed).permutation(len(held))]

    batch = devices.divisible(min(plan.batch, len(train)))
    if batch == devices.machines and (plan.lead_in or augmentation.mixup):
        raise UsageError(
            "a lead-in, and --mixup, take another clip of a machine's batch: give --batch "
            f"{2 * batch} or more, or --lead-in 0"
        )
    fps = spec.architecture.fps
    copies = None if cache is None else Cache.of(cache, spec.resolution, fps, augmentation)

    def batches(chosen: list[LabelledClip], size: int, **more: Any) -> Batches:
        return Batches(
            chosen,
            clips.labels,
            fps,
            plan.frames,
            spec.resolution,
            size,
            spec.streams,
            seed=plan.seed,
            pool=pool,
            cache=copies,
            **more,
        )

    return (
        batches(
            train,
            batch,
            part=(devices.machine, devices.machines),
            lead_in=plan.lead_in,
            augmentation=augmentation,
            class_weights=balance,
        ),
        batches(mixed, streams_at_once(len(mixed), plan.batch)),
    )


def _score(answers: Answers) -> float:
    return answers.mean_average_precision() if answers.independent else answers.top1()


def _values(network: MoViNet) -> list[Any]:
    return [variable.numpy() for variable in network.variables]
