"""The training loop: Keras fits, this decides on phases, rates, checkpoints and the end."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from movinet_convert.backend import keras, skip_graph_optimization
from movinet_convert.network import MoViNet
from movinet_convert.norm import FusedNorm, Moments
from movinet_convert.training.batches import Augmentation, Batches
from movinet_models.clips import TRAIN, VALIDATION, Collection
from movinet_runtime.errors import UsageError
from movinet_runtime.files import written_whole

MEASURES = ("loss", "accuracy", "val_loss", "val_accuracy")
STATISTICS_BATCHES = 8
STRIDE = 16  # resolutions on the way up are multiples of it


@dataclass(frozen=True)
class Plan:
    """What to do; a checkpoint continues only under the same plan.

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
        patience: epochs without a better validation accuracy before it stops.
        lead_in: frames of another clip before every other clip, which do not count: the
            stream has gone on for a while.
        horizon: frames that averages over time remember.
        seed: of order, augmentation and dropout.
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
    seed: int = 0
    weight_decay: float = 0.02
    smoothing: float = 0.1
    warmup: float = 0.08  # share of all steps


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch."""

    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    rate: float
    resolution: int
    seconds: float


class FrameByFrame(keras.Model):  # type: ignore[misc]
    """The network as it is trained: logits [batch, frames, classes], after every frame."""

    def __init__(self, network: MoViNet, horizon: int) -> None:
        super().__init__()
        self.network = network
        self.horizon = horizon
        self.built = True

    def call(self, video: Any, training: bool = False) -> Any:
        """See :meth:`MoViNet.stream`."""
        return self.network.stream(video, training=training, horizon=self.horizon)[0]


class Checkpoint:
    """Everything that a killed training needs to go on, in one file."""

    def __init__(self, path: Path, plan: Plan, labels: list[str]) -> None:
        self.path = path
        self.about = {"plan": asdict(plan), "labels": labels}

    def save(self, history: list[Epoch], model: FrameByFrame, best: list[Any]) -> None:
        """Replace the file by the present weights, optimizer and history."""
        arrays = {f"weights/{i}": v.numpy() for i, v in enumerate(model.network.variables)}
        arrays |= {f"optimizer/{i}": v.numpy() for i, v in enumerate(model.optimizer.variables)}
        arrays |= {f"best/{i}": v for i, v in enumerate(best)}
        about = json.dumps(self.about | {"history": [asdict(epoch) for epoch in history]})
        with written_whole(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, about=np.array(about), **arrays)

    def read(self) -> tuple[list[Epoch], dict[str, list[Any]]]:
        """Return the history, and arrays by group.

        Raises:
            UsageError: no such file, or of another training.
        """
        try:
            with np.load(self.path) as file:
                about = json.loads(str(file["about"]))
                groups: dict[str, list[Any]] = {"weights": [], "optimizer": [], "best": []}
                for name in sorted(
                    set(file.files) - {"about"}, key=lambda n: int(n.rpartition("/")[2])
                ):
                    groups[name.partition("/")[0]].append(file[name])
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(f"cannot resume from {self.path}: {error}") from error
        history = [Epoch(**epoch) for epoch in about.pop("history")]
        if about != self.about:
            raise UsageError(
                f"{self.path} is of a training with other options or classes: "
                "give the same, or remove it"
            )
        return history, groups


def fit(
    network: MoViNet,
    clips: Collection,
    plan: Plan,
    augmentation: Augmentation,
    checkpoint: Checkpoint,
    resume: bool,
    callbacks: Callable[[], list[Any]] = list,
    folded: bool = False,
) -> tuple[list[Epoch], dict[str, str]]:
    """Train a network; it ends with the weights of its best epoch.

    Args:
        network: with a classifier for the clips' labels.
        clips: readable ones, with splits.
        plan: how.
        augmentation: of training clips.
        checkpoint: written after every epoch.
        resume: begin where it stopped.
        callbacks: more of Keras's, made for each phase.
        folded: batch norm is folded into the network's kernels: measure its statistics first.

    Returns:
        The epochs, and the clips that turned out to be unreadable, with the reason.
    """
    keras.utils.set_random_seed(plan.seed)
    skip_graph_optimization()
    history: list[Epoch] = []
    restored: dict[str, list[Any]] = {}
    if resume:
        history, restored = checkpoint.read()
        _assign(network.variables, restored["weights"])
    train, validation = _batches(network, clips, plan, augmentation)
    if folded and not resume:
        restore_statistics(network, islice(train, STATISTICS_BATCHES))
    best = restored.get("best") or _values(network)
    for first, last, frozen in ((0, plan.freeze, True), (plan.freeze, plan.epochs, False)):
        if len(history) >= last or _stops(history, plan):
            continue
        model = _compiled(network, plan, len(train) * (last - first), frozen)
        if restored and len(history) > first:
            model.optimizer.build(model.trainable_variables)
            _assign(model.optimizer.variables, restored["optimizer"])
        for number in range(len(history), last):
            train.epoch = number
            train.side = _side(plan, number, network.spec.resolution)
            began = time.perf_counter()
            logs = model.fit(
                train,
                validation_data=validation,
                initial_epoch=number,
                epochs=number + 1,
                verbose=0,
                callbacks=callbacks(),
            ).history
            history.append(
                Epoch(
                    **{key: round(logs[key][-1], 5) for key in MEASURES},
                    rate=float(model.optimizer.learning_rate),
                    resolution=train.side,
                    seconds=round(time.perf_counter() - began, 1),
                )
            )
            if _best(history) == number:
                best = _values(network)
            checkpoint.save(history, model, best)
            if _stops(history, plan):
                break
    _assign(network.variables, best)
    return history, train.broken | validation.broken


def restore_statistics(network: MoViNet, batches: Iterable[Any]) -> None:
    """Give batch norm the statistics that were lost when it was folded into kernels.

    A folded layer computes conv(x) + bias, which is a batch norm with any mean m and variance v
    if gamma = sqrt(v + epsilon) and beta = bias + m. With m and v as they are in the clips,
    training, which normalizes by each batch's own, begins near the same function; with the 0 and
    1 of the file it would begin far from it.

    Args:
        network: of weights that were read from a TFLite file; answers as before afterwards.
        batches: of (video uint8 or float32 [batch, time, h, w, 3] in [0, 1], ...).
    """
    norms = [layer for layer in network._flatten_layers() if isinstance(layer, FusedNorm)]
    for norm in norms:
        norm.observed = Moments()
    for video, *_ in batches:
        network.stream(video)
    for norm in norms:
        norm.adopt()


def _batches(
    network: MoViNet, clips: Collection, plan: Plan, augmentation: Augmentation
) -> tuple[Batches, Batches]:
    spec, train = network.spec, clips.of(TRAIN)
    counts = {label: sum(clip.label == label for clip in train) for label in clips.labels}
    balance = {label: len(train) / (len(counts) * count) for label, count in counts.items()}
    fps = spec.architecture.fps

    def batches(chosen: Any, **more: Any) -> Batches:
        return Batches(
            chosen,
            clips.labels,
            fps,
            plan.frames,
            spec.resolution,
            min(plan.batch, len(chosen)),
            spec.streams,
            lead_in=plan.lead_in,
            seed=plan.seed,
            **more,
        )

    return (
        batches(train, augmentation=augmentation, class_weights=balance),
        batches(clips.of(VALIDATION)),
    )


def _compiled(network: MoViNet, plan: Plan, steps: int, frozen: bool) -> FrameByFrame:
    for layer in network.layers:
        layer.trainable = not frozen or layer is network.classifier
    warm = max(1, round(plan.warmup * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        plan.rate / 20,
        max(1, steps - warm),
        alpha=plan.final_rate,
        warmup_target=plan.rate,
        warmup_steps=warm,
    )
    model = FrameByFrame(network, plan.horizon)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=plan.weight_decay, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "scale"])
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(
            from_logits=True,
            label_smoothing=plan.smoothing,
            reduction="mean_with_sample_weight",
        ),
        weighted_metrics=[keras.metrics.CategoricalAccuracy("accuracy")],
        jit_compile=False,  # XLA takes longer to compile this network than a short training
    )
    return model


def _side(plan: Plan, epoch: int, full: int) -> int:
    """The resolution of an epoch: up in three equal parts of the released epochs."""
    if plan.start_resolution >= full or epoch < plan.freeze:
        return full
    third = 3 * (epoch - plan.freeze) // max(1, plan.epochs - plan.freeze)
    side = plan.start_resolution + (full - plan.start_resolution) * third / 2
    return min(full, round(side / STRIDE) * STRIDE) if third < 2 else full


def _best(history: list[Epoch]) -> int:
    """The epoch with the best validation accuracy; of equal ones the least loss."""
    return max(range(len(history)), key=lambda i: (history[i].val_accuracy, -history[i].val_loss))


def _stops(history: list[Epoch], plan: Plan) -> bool:
    return bool(history) and len(history) - 1 - _best(history) >= plan.patience


def _values(network: MoViNet) -> list[Any]:
    return [variable.numpy() for variable in network.variables]


def _assign(variables: list[Any], values: list[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
