"""The training loop: Keras fits, this decides on phases, rates, checkpoints and the end."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from movinet_convert.backend import keras, ops, skip_graph_optimization
from movinet_convert.network import MoViNet, scaled
from movinet_convert.norm import FusedNorm, Moments
from movinet_convert.training.batches import Batches
from movinet_convert.training.checkpoint import Checkpoint, Saved, restore
from movinet_convert.training.plan import Epoch, Plan, best_epoch, stops
from movinet_convert.training.reading import Augmentation, Cache
from movinet_convert.training.validation import Answers, Validator, streams_at_once
from movinet_models.clips import TRAIN, VALIDATION, Collection, LabelledClip

STATISTICS_BATCHES = 8
SAVE_EVERY = 600.0  # seconds within an epoch


class FrameByFrame(keras.Model):  # type: ignore[misc]
    """The network as it is trained: logits [batch, frames, classes], after every frame.

    Frames before the clip's own only make the state that the clip begins with, as the runtime
    would: with the norm's moving statistics, and without a gradient, which halves their cost.

    Args:
        network: to train.
        horizon: frames that averages over time remember.
        frames: of a clip; more of them are a lead-in.
    """

    def __init__(self, network: MoViNet, horizon: int, frames: int) -> None:
        super().__init__()
        self.network = network
        self.horizon = horizon
        self.frames = frames
        self.built = True

    def call(self, video: Any, training: bool = False) -> Any:
        """See :meth:`MoViNet.stream`; the video is uint8."""
        pictures, states = scaled(video), None
        lead_in = ops.shape(video)[1] - self.frames  # not known when the graph is built
        if self.network.spec.streams and (not isinstance(lead_in, int) or lead_in):
            before = pictures[:, : ops.maximum(lead_in, 1)]
            _, after = self.network.stream(before, horizon=self.horizon)
            led = ops.cast(lead_in > 0, "float32")  # all states of a new stream are zero
            states = {name: ops.stop_gradient(state) * led for name, state in after.items()}
        clip = pictures[:, -self.frames :]
        return self.network.stream(clip, states, training=training, horizon=self.horizon)[0]


class _Saves(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves within an epoch, so that one that takes hours is not lost."""

    def __init__(self, save: Callable[[int, float, float], None], every: float) -> None:
        super().__init__()
        self._save, self._every = save, every
        self._last = time.monotonic()
        self.raw: list[Any] = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Keep the weights as they are: after this, Keras puts their averages in their place."""
        self.raw = _values(self.model.network)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        last = batch + 1 == self.params["steps"]  # the epoch's own checkpoint comes at once
        if last or time.monotonic() - self._last < self._every:
            return
        self._save(batch + 1, float(logs["loss"]), float(logs["accuracy"]))
        self._last = time.monotonic()


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
        pool: Executor | None = None,
        cache: Path | None = None,
    ) -> None:
        keras.utils.set_random_seed(plan.seed)
        skip_graph_optimization()
        self.network, self.plan = network, plan
        self.train, self.validation = _batches(network, clips, plan, augmentation, pool, cache)
        self.history: list[Epoch] = []
        self._checkpoint, self._save_every = checkpoint, save_every
        self._validator = Validator(network, self.validation, plan.horizon)
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
        callbacks: Callable[[], list[Any]] = list,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ) -> Answers:
        """Train; the network ends with the weights of its best epoch.

        Args:
            callbacks: more of Keras's, made for each epoch.
            on_epoch: called after each.

        Returns:
            What these weights answer to the validation clips.
        """
        plan = self.plan
        for first, last, frozen in ((0, plan.freeze, True), (plan.freeze, plan.epochs, False)):
            if len(self.history) >= last or stops(self.history, plan):
                continue
            model = _compiled(self.network, plan, self.train.count * (last - first), frozen)
            model.optimizer.build(model.trainable_variables)
            begun = len(self.history) > first or self._partial.steps > 0
            if self._restored is not None and begun:
                restore(model.optimizer.variables, self._restored, "optimizer's variables")
            self._restored = None
            while len(self.history) < last and not stops(self.history, plan):
                on_epoch(self._epoch(model, callbacks()))
        restore(self.network.variables, self._best, "weights")
        return self._validator.answers()[0]

    def _epoch(self, model: FrameByFrame, callbacks: list[Any]) -> Epoch:
        number, plan, before = len(self.history), self.plan, self._partial
        self.train.epoch, self.train.first = number, before.steps
        self.train.side = plan.side(number, self.network.spec.resolution)
        began = time.perf_counter()

        def mean(steps: int, here: float, earlier: float) -> float:
            """Join the means over the epoch's steps before and after a stop."""
            return (before.steps * earlier + steps * here) / (before.steps + steps)

        def save(steps: int, loss: float, accuracy: float) -> None:
            means = mean(steps, loss, before.loss), mean(steps, accuracy, before.accuracy)
            self._save(model, before.steps + steps, *means)

        steps = len(self.train)
        saves = _Saves(save, self._save_every)
        try:
            logs = model.fit(
                self.train,
                initial_epoch=number,
                epochs=number + 1,
                shuffle=False,  # the batches are in a random order of their own
                verbose=0,
                callbacks=[*callbacks, saves],
            ).history
        except Exception:
            if self.train.failed is not None:
                raise self.train.failed from None
            raise
        self._partial, self.train.first = Saved(), 0
        alone, streams = self._validator.answers()  # of the averages, where there are any
        epoch = Epoch(
            loss=round(mean(steps, logs["loss"][-1], before.loss), 5),
            accuracy=round(mean(steps, logs["accuracy"][-1], before.accuracy), 5),
            val_loss=round(alone.loss(), 5),
            val_accuracy=round(alone.top1(), 5),
            val_macro=round(alone.macro(), 5),
            val_top5=None if (top5 := alone.top5()) is None else round(top5, 5),
            val_stream=None if streams is None else round(streams.top1(), 5),
            rate=float(model.optimizer.learning_rate),
            resolution=self.train.side,
            seconds=round(time.perf_counter() - began, 1),
        )
        self.history.append(epoch)
        if best_epoch(self.history, plan.best) == number:
            self._best = _values(self.network)
        if plan.ema:
            restore(self.network.variables, saves.raw, "weights")
        self._save(model)
        return epoch

    def _save(
        self, model: FrameByFrame, steps: int = 0, loss: float = 0.0, accuracy: float = 0.0
    ) -> None:
        arrays = {
            "weights": _values(self.network),
            "optimizer": [variable.numpy() for variable in model.optimizer.variables],
            "best": self._best,
        }
        self._checkpoint.save(Saved(self.history, steps, loss, accuracy, arrays))


def some_batches(train: Batches) -> Iterable[Any]:
    """Return the batches that :func:`restore_statistics` measures."""
    return (train[i] for i in range(min(STATISTICS_BATCHES, len(train))))


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
    norms = [layer for layer in network._flatten_layers() if isinstance(layer, FusedNorm)]
    for norm in norms:
        norm.observed = Moments()
    for video, *_ in batches:
        network.stream(scaled(video))
    for norm in norms:
        norm.adopt()


def _batches(
    network: MoViNet,
    clips: Collection,
    plan: Plan,
    augmentation: Augmentation,
    pool: Executor | None,
    cache: Path | None,
) -> tuple[Batches, Batches]:
    spec, train, held = network.spec, clips.of(TRAIN), clips.of(VALIDATION)
    counts = {label: sum(clip.label == label for clip in train) for label in clips.labels}
    fair = {label: len(train) / (len(counts) * count) for label, count in counts.items()}
    balance = {label: min(weight, plan.weight_cap) for label, weight in fair.items()}
    # Streams change their class from clip to clip.
    mixed = [held[i] for i in np.random.default_rng(plan.seed).permutation(len(held))]

    fps = spec.architecture.fps
    copies = None if cache is None else Cache.of(cache, spec.resolution, fps, augmentation)

    def batches(chosen: list[LabelledClip], batch: int, **more: Any) -> Batches:
        return Batches(
            chosen,
            clips.labels,
            fps,
            plan.frames,
            spec.resolution,
            batch,
            spec.streams,
            seed=plan.seed,
            pool=pool,
            cache=copies,
            **more,
        )

    return (
        batches(
            train,
            min(plan.batch, len(train)),
            lead_in=plan.lead_in,
            augmentation=augmentation,
            class_weights=balance,
        ),
        batches(mixed, streams_at_once(len(mixed), plan.batch)),
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
    model = FrameByFrame(network, plan.horizon, plan.frames)
    optimizer = keras.optimizers.AdamW(
        rate,
        weight_decay=plan.weight_decay,
        global_clipnorm=1.0,
        use_ema=plan.ema > 0,
        ema_momentum=plan.ema or 0.99,
    )
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


def _values(network: MoViNet) -> list[Any]:
    return [variable.numpy() for variable in network.variables]
