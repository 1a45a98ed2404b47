"""The clip network in Keras: trainable, with batch norm, one class for both forms.

The stream form is causal: ``stream`` takes any number of frames with the states
of the frames before, so that a whole clip and frame by frame are the same function.

    frames folded into the batch    2-D convolutions, batch norm
    [batch, time, h, w, c]          temporal convolution, averages over time
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

from movinet_convert.backend import keras, ops
from movinet_convert.norm import FusedNorm
from movinet_convert.parameters import (
    DEFAULT_GATE,
    HARD_SIGMOIDS,
    NORM,
    NORM_EPSILON,
    Shape,
    Unit,
    units,
)
from movinet_models.family import Gate, Layer, ModelSpec, lookup
from movinet_runtime.tensors import FRAME_COUNT

Tensor = Any  # a Keras tensor: symbolic, or of TensorFlow
States = dict[str, Tensor]
Activation = Callable[[Tensor], Tensor] | None

NORM_MOMENTUM = 0.97  # for trainings of some thousand steps


class TapsConv(keras.layers.Layer):  # type: ignore[misc]
    """Depthwise convolution over time as a sum over its taps.

    A kernel (time, 1, channels, 1) is purely temporal; (time, height, width,
    channels, 1) is the base form's 3-D depthwise convolution, SAME in space.
    TensorFlow has no grouped 3-D convolution on CPUs; this is one, with gradients.
    Time is VALID: the caller pads.
    """

    def __init__(self, kernel: Shape, stride: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stride = stride
        self.kernel = self.add_weight(
            name="kernel",
            shape=kernel,
            initializer=keras.initializers.VarianceScaling(2.0, "fan_in"),
        )
        self.built = True

    def call(self, x: Tensor) -> Tensor:
        taps = self.kernel.shape[0]
        frames = ops.shape(x)[1] - taps + 1
        if len(self.kernel.shape) == 4:  # space as one axis: a 2-D depthwise convolution
            batch, time, h, w, c = ops.shape(x)
            y = ops.depthwise_conv(ops.reshape(x, (batch, time, h * w, c)), self.kernel, 1, "valid")
            return ops.reshape(y, (batch, frames, h, w, c))
        outputs = (self._tap(x[:, i : i + frames], self.kernel[i]) for i in range(taps))
        return sum(outputs)

    def _tap(self, x: Tensor, kernel: Tensor) -> Tensor:
        y = ops.depthwise_conv(_fold(x), kernel, self.stride, "same")
        return _unfold(y, x)


class ConvUnit(keras.layers.Layer):  # type: ignore[misc]
    """A convolution, its batch norm (or bias) and its activation on [batch, time, h, w, c]."""

    def __init__(
        self, unit: Unit, stride: int = 1, activation: Activation = None, **kwargs: Any
    ) -> None:
        super().__init__(name=unit.name.rpartition("/")[2], **kwargs)
        self.unit = unit
        self.activation = activation
        size = unit.kernel[:2]
        self.folds = True
        if unit.depthwise and (unit.name.endswith("temporal") or len(unit.kernel) == 5):
            self.conv = TapsConv(unit.kernel, stride, name="conv")
            self.folds = False
        elif unit.depthwise:
            self.conv = keras.layers.DepthwiseConv2D(
                size, stride, "same", use_bias=not unit.norm, name="conv"
            )
            self.conv.build((None, None, None, unit.channels))
        else:
            self.conv = keras.layers.Conv2D(
                unit.channels, size, stride, "same", use_bias=not unit.norm, name="conv"
            )
            self.conv.build((None, None, None, unit.kernel[2]))
        self.norm = None
        if unit.norm:
            self.norm = FusedNorm(epsilon=NORM_EPSILON, momentum=NORM_MOMENTUM, name="norm")
            self.norm.build((None, None, None, unit.channels))
        self.built = True

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        y = _unfold(self.conv(_fold(x)), x) if self.folds else self.conv(x)
        if self.norm is not None:
            y = _unfold(self.norm(_fold(y), training=training), y)
        return y if self.activation is None else self.activation(y)

    def parameters(self) -> dict[str, Any]:
        """Return the variables by canonical name."""
        found = {f"{self.unit.name}/kernel": self.conv.kernel}
        if self.norm is None:
            return found | {f"{self.unit.name}/bias": self.conv.bias}
        return found | {f"{self.unit.name}/{leaf}": getattr(self.norm, leaf) for leaf in NORM}


class Bottleneck(keras.layers.Layer):  # type: ignore[misc]
    """Expand, convolve in space and time, squeeze-excite, project, add (paper, fig. 3)."""

    def __init__(
        self,
        spec: ModelSpec,
        layer: Layer,
        by_name: Mapping[str, Unit],
        gate: Gate,
        drop_path: float = 0.0,
    ) -> None:
        # Keras would round the states that come in to half precision, and counts with them.
        super().__init__(name=layer.name, autocast=False)
        self.layer = layer
        self.spec = spec
        act = _activation(spec)
        sigmoid = partial(hard_sigmoid, gate=gate) if spec.streams else ops.sigmoid

        def unit(part: str, **kwargs: Any) -> Any:  # None where the layer has no such unit
            found = by_name.get(f"{layer.name}/{part}")
            return None if found is None else ConvUnit(found, **kwargs)

        self.expansion = unit("expansion", activation=act)
        self.feature = unit("feature", stride=layer.stride, activation=act)
        self.temporal = unit("temporal", activation=act)
        self.se_reduce = unit("se_reduce", activation=act)
        self.se_expand = unit("se_expand", activation=sigmoid)
        self.projection = unit("projection")
        self.skip = unit("skip")
        # Of a whole clip: all its frames have the branch, or none.
        self.drop_path = keras.layers.Dropout(drop_path, noise_shape=(None, 1, 1, 1, 1))
        # From zero, a short training spends its first epoch on growing it.
        start = keras.initializers.Constant(0.3)
        self.scale = self.add_weight(name="scale", shape=(), initializer=start)
        self.positional_scale = None
        if spec.positional_encoding:
            self.positional_scale = self.add_weight(
                name="positional_scale", shape=(), initializer="zeros"
            )
        self.built = True

    def call(
        self,
        x: Tensor,
        states: States | None = None,
        training: bool = False,
        horizon: int | None = None,
    ) -> tuple[Tensor, States]:
        states, new = states or {}, {}
        y = self.expansion(x, training=training)
        if not self.spec.streams:
            half = self.layer.kernel[0] // 2  # SAME in time: this form sees the future
            y = ops.pad(y, ((0, 0), (half, half), (0, 0), (0, 0), (0, 0)))
        y = self.feature(y, training=training)
        if self.temporal is not None:
            key = f"state_{self.layer.name}_stream_buffer"
            y, new[key] = self._temporal(y, states.get(key), training)
        if self.se_reduce is not None:
            y = y * self._gate(y, states, new, horizon)
        y = self.projection(y, training=training)
        y = self.drop_path(y * ops.cast(self.scale, y.dtype), training=training)
        if self.skip is not None:
            if self.layer.stride > 1:
                pooled = ops.average_pool(_fold(x), 3, self.layer.stride, "same")
                x = _unfold(pooled, x)
            x = self.skip(x, training=training)
        return x + y, new

    def _temporal(self, x: Tensor, past: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        frames = self.layer.kernel[0] - 1
        if past is None:
            batch, _, *rest = ops.shape(x)
            past = ops.zeros((batch, frames, *rest), x.dtype)
        window = ops.concatenate([past, x], axis=1)
        return self.temporal(window, training=training), window[:, -frames:]

    def _gate(self, x: Tensor, states: States, new: States, horizon: int | None) -> Tensor:
        pooled = ops.mean(x, axis=(2, 3), keepdims=True)
        if not self.spec.streams:
            pooled = ops.mean(pooled, axis=1, keepdims=True)
        else:
            key = f"state_{self.layer.name}_pool_buffer"
            count = states.get(FRAME_COUNT)
            average, new[key] = _running_mean(pooled, states.get(key), count, horizon)
            pooled = ops.concatenate([average, pooled], axis=-1)
            if self.positional_scale is not None:
                encoding = positional_encoding(ops.shape(x)[1], count, pooled.shape[-1])
                pooled = pooled + ops.cast(encoding * self.positional_scale, pooled.dtype)
        return self.se_expand(self.se_reduce(pooled))

    def parameters(self) -> dict[str, Any]:
        """Return the variables by canonical name."""
        found = {f"{self.layer.name}/scale": self.scale}
        if self.positional_scale is not None:
            found[f"{self.layer.name}/positional_scale"] = self.positional_scale
        for part in vars(self).values():
            if isinstance(part, ConvUnit):
                found |= part.parameters()
        return found


@keras.saving.register_keras_serializable("movinet")
class MoViNet(keras.Model):  # type: ignore[misc]
    """A clip classifier: video float32 [batch, time, h, w, 3] in [0, 1] -> logits.

    ``model(video)`` gives [batch, classes], in the stream form after the last
    frame. Labels, how many frames the clips of the training had and which clips they were
    (:func:`movinet_models.splits.packed`), the horizon of its averages, the form of its gate,
    the thresholds of classes that do not exclude each other and the prior that the classifier's
    bias holds (:func:`movinet_convert.training.plan.rises`) travel in the saved file. In
    training, ``drop_path`` leaves out residual branches at random: the first never, the last
    with almost this probability (stochastic depth, linear decay, arXiv 1603.09382).
    """

    def __init__(
        self,
        model_id: str,
        classes: int,
        resolution: int | None = None,
        labels: list[str] | None = None,
        dropout: float = 0.0,
        clip_frames: int | None = None,
        horizon: int | None = None,
        gate: Gate = DEFAULT_GATE,
        trained_on: str | None = None,
        thresholds: list[float] | None = None,
        prior: dict[str, float] | None = None,
        drop_path: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.spec = lookup(model_id).at(resolution)
        self.classes = classes
        self.labels = labels
        self.clip_frames = clip_frames
        self.horizon = horizon
        self.gate = gate
        self.trained_on = trained_on
        self.thresholds = thresholds
        self.prior = prior
        spec = self.spec
        act = _activation(spec)
        by_name = {unit.name: unit for unit in units(spec, classes)}
        self.stem = ConvUnit(by_name["stem"], stride=2, activation=act)
        layers = list(spec.layers())
        self.bottlenecks = [
            Bottleneck(spec, layer, by_name, gate, drop_path * i / len(layers))
            for i, layer in enumerate(layers)
        ]
        self.project = ConvUnit(by_name["project"], activation=act)
        # Soft in both forms.
        head = ops.silu if spec.architecture.squeeze_excitation else act
        self.head = ConvUnit(by_name["head"], activation=head)
        self.dropout = keras.layers.Dropout(dropout)
        self.classifier = ConvUnit(by_name["classifier"])
        self.built = True

    def call(self, video: Tensor, training: bool = False) -> Tensor:
        logits, _ = self.stream(video, training=training)
        return logits[:, -1]

    def stream(
        self,
        video: Tensor,
        states: States | None = None,
        training: bool = False,
        horizon: int | None = None,
    ) -> tuple[Tensor, States]:
        """Classify frames that follow those which gave ``states``.

        Args:
            video: float32 [batch, time, h, w, 3] in [0, 1].
            states: what the last call returned; None before the first frame.
            training: dropout, and batch statistics where the norms do not keep theirs.
            horizon: frames that averages over time remember, as the runtime bounds them;
                None: all.

        Returns:
            Logits [batch, time, classes] after each frame (base form: time 1, the
            whole clip), and the states by their names in the model file.
        """
        new: States = {}
        x = self.stem(video, training=training)
        for bottleneck in self.bottlenecks:
            x, changed = bottleneck(x, states=states, training=training, horizon=horizon)
            new |= changed
        x = ops.mean(self.project(x, training=training), axis=(2, 3), keepdims=True)
        if self.spec.streams:
            key = "state_head_pool_buffer"
            count = (states or {}).get(FRAME_COUNT)
            x, new[key] = _running_mean(x, (states or {}).get(key), count, horizon)
            frames = ops.cast(ops.shape(video)[1], "float32")
            new[FRAME_COUNT] = frames if count is None else count + frames
        else:
            x = ops.mean(x, axis=1, keepdims=True)
        x = self.dropout(self.head(x), training=training)
        return ops.cast(self.classifier(x)[:, :, 0, 0], "float32"), new

    def parameters(self) -> dict[str, Any]:
        """Return the variables by canonical name."""
        found: dict[str, Any] = {}
        parts: list[Any] = [self.stem, *self.bottlenecks, self.project, self.head, self.classifier]
        for part in parts:
            found |= part.parameters()
        return found

    def get_config(self) -> dict[str, Any]:
        return {
            "model_id": self.spec.id,
            "classes": self.classes,
            "resolution": self.spec.resolution,
            "labels": self.labels,
            "dropout": self.dropout.rate,
            "clip_frames": self.clip_frames,
            "horizon": self.horizon,
            "gate": self.gate,
            "trained_on": self.trained_on,
            "thresholds": self.thresholds,
            "prior": self.prior,
            "name": self.name,
        }


def scaled(video: Tensor) -> Tensor:
    """Return uint8 pictures as the float32 in [0, 1] that the network takes."""
    return ops.cast(video, "float32") * (1 / 255)


def hard_sigmoid(x: Tensor, gate: Gate = DEFAULT_GATE) -> Tensor:
    """The gate of squeeze-excitation in the stream form, of which there are two."""
    form = HARD_SIGMOIDS[gate]
    return ops.relu6(x * form.factor + 3.0) * form.slope


def _activation(spec: ModelSpec) -> Callable[[Tensor], Tensor]:
    if not spec.streams:
        return cast(Callable[[Tensor], Tensor], ops.silu)
    functions = {"hard_swish": ops.hard_silu, "relu6": ops.relu6}
    return cast(Callable[[Tensor], Tensor], functions[spec.architecture.activation])


def positional_encoding(frames: Tensor, start: Tensor, channels: int) -> Tensor:
    """Return the sinusoids of frames ``start .. start+frames-1`` as [1, frames, 1, 1, channels].

    The first half of the channels are sines, the second cosines, channel i of a
    half at frequency 10000^(-2i/channels).
    """
    half = channels // 2
    frequency = ops.power(10_000.0, -2.0 * ops.arange(half, dtype="float32") / channels)
    positions = ops.arange(frames, dtype="float32")
    if start is not None:
        positions = positions + start
    angles = ops.expand_dims(positions, -1) * frequency
    encoding = ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)
    return ops.reshape(encoding, (1, -1, 1, 1, channels))


def _running_mean(
    x: Tensor, mean: Tensor, count: Tensor, horizon: int | None = None
) -> tuple[Tensor, Tensor]:
    """Average [batch, time, ...] over all frames so far, or as the runtime bounds it.

        average_t = average_{t-1} + (x_t - average_{t-1}) / min(t + 1, horizon)

    Any number of frames, also one that is not known when the graph is built: what is summed is
    each frame's share in the average after each frame (:func:`bounded_shares`). In float32, also
    where the network trains in half precision, which cannot count far.

    Returns:
        The averages in the precision of ``x``, and the last one.
    """
    precision, x = x.dtype, ops.cast(x, "float32")
    if horizon is None:
        total = ops.cumsum(x, axis=1)
        seen = ops.arange(1, ops.shape(x)[1] + 1, dtype="float32")
        if mean is not None:
            total = total + mean * count
            seen = seen + count
        averages = total / ops.reshape(seen, (1, -1, 1, 1, 1))
    else:
        shares, of_mean = bounded_shares(ops.shape(x)[1], 0.0 if count is None else count, horizon)
        averages = ops.einsum("ts,bshwc->bthwc", shares, x)
        if mean is not None:
            averages = averages + mean * ops.reshape(of_mean, (1, -1, 1, 1, 1))
    return ops.cast(averages, precision), averages[:, -1:]


def bounded_shares(frames: Tensor, count: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
    """Return what the bounded average after each frame consists of.

    The step 1 / min(t + 1, horizon) that frame s entered with shrinks by the factor
    1 - 1 / horizon with each later frame beyond the horizon; up to it, all frames so far
    have equal shares.

    Args:
        frames: their number T, an int or an int32 scalar.
        count: frames before them, as many as have been seen or held at the horizon.
        horizon: frames.

    Returns:
        Share of each frame s in the average after frame t, float32 [t, s]; and that of the
        average before the first frame, [t].
    """
    at = ops.arange(frames, dtype="float32") + ops.cast(count, "float32")
    step = 1.0 / ops.minimum(at + 1.0, float(horizon))
    kept = 1.0 - 1.0 / horizon
    after, entered = ops.expand_dims(at, 1), ops.expand_dims(at, 0)
    fades = ops.maximum(after - ops.maximum(entered, horizon - 1.0), 0.0)
    known = ops.cast(entered <= after, "float32")
    shares = ops.expand_dims(step, 1) * known * ops.power(kept, fades)
    held = ops.minimum(at[0], float(horizon))
    fades = ops.maximum(at - ops.maximum(at[0], float(horizon)) + 1.0, 0.0)
    of_mean = held * step * ops.power(kept, fades)
    return shares, of_mean


def _fold(x: Tensor) -> Tensor:
    """[batch, time, h, w, c] -> [batch*time, h, w, c]."""
    return ops.reshape(x, (-1, *ops.shape(x)[2:]))


def _unfold(y: Tensor, like: Tensor) -> Tensor:
    """[batch*time, h, w, c] -> [batch, time, h, w, c] with the batch and time of ``like``."""
    batch, time = ops.shape(like)[:2]
    return ops.reshape(y, (batch, time, *ops.shape(y)[1:]))


def load_into_network(
    spec: ModelSpec,
    weights: Mapping[str, Any],
    labels: list[str] | None = None,
    dropout: float = 0.0,
    gate: Gate = DEFAULT_GATE,
    drop_path: float = 0.0,
) -> MoViNet:
    """Return the Keras network of a model with the given weights, and their gate."""
    classes = weights["classifier/bias"].shape[0]
    network = MoViNet(
        spec.id, classes, spec.resolution, labels, dropout, gate=gate, drop_path=drop_path
    )
    for name, variable in network.parameters().items():
        variable.assign(weights[name])
    return network
