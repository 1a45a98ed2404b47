"""One step of training, on every device."""

from typing import Any

from movinet_convert.backend import keras, ops, tf
from movinet_convert.network import MoViNet, scaled
from movinet_convert.training.devices import Devices
from movinet_convert.training.plan import Plan


def frame_by_frame(
    network: MoViNet, video: Any, frames: int, horizon: int, training: bool = False
) -> Any:
    """Return logits [batch, frames, classes], after every frame of clips.

    Frames before the clip's own only make the state that the clip begins with, as the runtime
    would: with the norm's moving statistics, and without a gradient, in a third of the time.

    Args:
        network: to train.
        video: uint8 [batch, lead-in and frames, h, w, 3].
        frames: of a clip; what is before them is a lead-in.
        horizon: frames that averages over time remember.
        training: dropout, and batch statistics where the norms do not keep theirs.
    """
    pictures, states = scaled(video), None
    lead_in = ops.shape(video)[1] - frames  # not always known when the graph is built
    if network.spec.streams and (not isinstance(lead_in, int) or lead_in):
        before = pictures[:, : ops.maximum(lead_in, 1)]
        _, after = network.stream(before, horizon=horizon)
        led = lead_in > 0  # else a new stream, of which all states are zero
        states = {
            name: ops.stop_gradient(state) * ops.cast(led, state.dtype)
            for name, state in after.items()
        }
    return network.stream(pictures[:, -frames:], states, training=training, horizon=horizon)[0]


class Step:
    """Takes a step for each batch.

    Attributes:
        optimizer: AdamW; the rate warms up and falls as a cosine.

    Args:
        network: to train, and
        devices: in whose scope it was made.
        plan: how.
        steps: that the rate's way is long.
        frozen: only the classifier learns.
    """

    def __init__(
        self, network: MoViNet, devices: Devices, plan: Plan, steps: int, frozen: bool
    ) -> None:
        for layer in network.layers:
            layer.trainable = not frozen or layer is network.classifier
        self._network, self._devices, self._plan = network, devices.count, plan
        kinds = keras.losses.CategoricalCrossentropy, keras.losses.BinaryCrossentropy
        self._losses = kinds[plan.independent](
            from_logits=True, label_smoothing=plan.smoothing, reduction="none"
        )
        with devices.strategy.scope():
            self.optimizer = _optimizer(plan, steps, devices.count)
            self.optimizer.build(network.trainable_variables)
        self._everywhere = devices.together(self._on_a_device)

    def __call__(self, *batch: Any) -> tuple[float, float]:
        """Take a step.

        Args:
            batch: this machine's video uint8 [n, time, h, w, 3], labels [n, outputs, classes]
                and weights [n, outputs].

        Returns:
            Of the batch of all machines: the loss, and the share of right answers.

        Raises:
            UsageError: another machine has stopped.
        """
        loss, accuracy = self._everywhere(*batch)
        return float(loss), float(accuracy)

    def _on_a_device(self, video: Any, truth: Any, weights: Any) -> tuple[Any, Any]:
        context, plan = tf.distribute.get_replica_context(), self._plan
        weight = context.all_reduce("SUM", tf.reduce_sum(weights))
        with tf.GradientTape() as tape:
            logits = frame_by_frame(self._network, video, plan.frames, plan.horizon, training=True)
            loss = tf.reduce_sum(self._losses(truth, logits) * weights) / weight
            minimized = self.optimizer.scale_loss(loss)
        variables = self._network.trainable_variables
        gradients = tape.gradient(minimized, [variable.value for variable in variables])
        # The same everywhere before they are clipped; the optimizer sums them once more.
        gradients = context.all_reduce("SUM", gradients)
        shares = [gradient / self._devices for gradient in gradients]
        self.optimizer.apply(shares, variables)
        answer = tf.one_hot(tf.argmax(logits, axis=-1), logits.shape[-1])
        most = tf.reduce_max(truth, axis=-1)
        hits = tf.cast((tf.reduce_sum(answer * truth, axis=-1) == most) & (most > 0), "float32")
        shown = tf.cast(most > 0, "float32") * weights
        sums = [loss, tf.reduce_sum(hits * weights), tf.reduce_sum(shown)]
        loss, right, shown = context.all_reduce("SUM", sums)
        return loss, tf.math.divide_no_nan(right, shown)


def _optimizer(plan: Plan, steps: int, devices: int) -> Any:
    warm = max(1, round(plan.warmup * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        plan.rate / 20,
        max(1, steps - warm),
        alpha=plan.final_rate,
        warmup_target=plan.rate,
        warmup_steps=warm,
    )
    optimizer = keras.optimizers.AdamW(
        rate,
        weight_decay=plan.weight_decay,
        global_clipnorm=1.0 / devices,  # of a device's share
        use_ema=plan.ema > 0,
        ema_momentum=plan.ema or 0.99,
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "scale"])
    if keras.config.dtype_policy().compute_dtype == "float16":  # gradients would vanish
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer
