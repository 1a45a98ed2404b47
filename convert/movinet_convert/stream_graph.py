"""The stream form as a TFLite graph: one frame and the states in, logits and the states out.

    time ->        t-2   t-1    t
    temporal conv  [ stream buffer ][ x_t ]   kernel 3, VALID: one frame out
    next buffer          [          ][    ]   the newest kernel-1 inputs

Every operator is static and 4-D (a state's shift and its window 5-D, like the state), so
that XNNPACK takes all of them as one partition.
Batch norm, the layers' learned scales and the sixth of the hard sigmoid are folded into
convolutions; averages over time are running means that share one 1/(t+1).
"""

import numpy as np

from movinet_convert.blocks import Builder
from movinet_convert.graph import Activation, Graph
from movinet_convert.parameters import DEFAULT_GATE, Weights
from movinet_models.family import Gate, Layer, ModelSpec
from movinet_runtime.tensors import FRAME_COUNT


def build(
    spec: ModelSpec,
    weights: Weights,
    gate: Gate = DEFAULT_GATE,
    streams: int = 1,
    frames_apart: bool = False,
) -> Graph:
    """Return the step graph of a stream model (paper, sections 3.2 and 3.3).

    Its signature is that of the published stream models: ``image`` float32
    [1, 1, H, W, 3] in [0, 1], ``logits`` [1, classes], and the states, in and out
    under the same names, all zero before the first frame:
    ``state_frame_count`` [1, 1, 1, 1], ``state_*_stream_buffer`` [1, k-1, h, w, c],
    ``state_*_pool_buffer`` [1, 1, 1, c] (the mean over all frames so far).

    Args:
        spec: a stream model.
        weights: every tensor of :func:`movinet_convert.parameters.parameters`.
        gate: the form of the hard sigmoid that they were trained with.
        streams: that run in one step: the leading dimension of image, logits and states.
        frames_apart: make each past frame a state of its own, so that no buffer is copied:
            inputs ``state_*_stream_buffer_0`` (the oldest) and so on, [1, h, w, c], and one
            output ``state_*_stream_buffer``, the newest frame. The client moves the frames
            on (:func:`successors`).
    """
    builder = Builder.of(spec, weights, gate)
    graph, side = builder.graph, spec.resolution
    image = graph.input("image", (streams, 1, side, side, 3))
    count = graph.input(FRAME_COUNT, (streams, 1, 1, 1))
    # Before the count is written, so that it can be updated in place.
    positions = {}
    if spec.positional_encoding:
        positions = {layer.name: _position(builder, layer, count) for layer in spec.layers()}
    one = graph.constant("one", np.ones((1, 1, 1, 1), np.float32))
    next_count = _over_time(graph, "ADD", FRAME_COUNT, count, one)
    graph.output(FRAME_COUNT, next_count)
    share = _over_time(graph, "DIV", "frame_share", one, next_count)  # this frame's part: 1/(t+1)

    x = graph.reshape("frame", image, (streams, side, side, 3))
    x = builder.activated("stem", x, stride=2)
    for layer in spec.layers():
        x = _bottleneck(builder, layer, x, share, positions.get(layer.name), frames_apart)
    x = builder.activated("project", x)
    pooled = graph.mean("head/pool/frame", x)
    builder.classify(_running_mean(graph, "head", pooled, share))
    return graph


def successors(graph: Graph) -> dict[str, str]:
    """Return what each state takes after a frame: an output, or what another input was.

    The second is for past frames that are states of their own: each becomes the next older.
    """
    found = {}
    for name in graph.inputs:
        buffer, _, index = name.rpartition("_")
        if name in graph.outputs:
            found[name] = name
        elif buffer in graph.outputs:
            newer = f"{buffer}_{int(index) + 1}"
            found[name] = newer if newer in graph.inputs else buffer
    return found


def _bottleneck(
    builder: Builder, layer: Layer, x: str, share: str, position: str | None, frames_apart: bool
) -> str:
    name = layer.name
    y = builder.activated(f"{name}/expansion", x)
    if layer.kernel[0] > 1:
        y = (_temporal_sum if frames_apart else _temporal)(builder, layer, y)
    else:
        y = builder.activated(f"{name}/feature", y, layer.stride, depthwise=True)
    if not builder.spec.architecture.squeeze_excitation:
        return builder.residual(layer, x, y)
    gate = _gate(builder, layer, y, share, position)
    gated = builder.graph.binary("MUL", f"{name}/gated", y, gate)
    return builder.residual(layer, x, gated, gate_slope=builder.gate.slope)


def _temporal(builder: Builder, layer: Layer, x: str) -> str:
    """Convolve in space, then over the buffered frames and this one.

    The convolution is [1, k, h*w, c], kernel (k, 1). A RESHAPE is free only where what it
    reads and what it gives have one reader each and are no input or output. So the state
    keeps its five dimensions up to the window (0.92 instead of 0.94 times the reference's
    time, and 10 % less in tflite-runtime 2.14), and this frame, which two operators read,
    gets them before its activation (1.1 MB less to copy in A0).
    """
    graph, frames = builder.graph, layer.kernel[0] - 1
    feature = builder.convs[f"{layer.name}/feature"]
    name = f"{layer.name}/feature"
    x = graph.depthwise(
        name, x, feature.kernel, feature.bias, layer.stride, activation=builder.fused
    )
    name, state = f"{layer.name}/temporal", f"state_{layer.name}_stream_buffer"
    n, h, w, c = graph.shape(x)
    buffer = graph.input(state, (n, frames, h, w, c))
    if builder.fused:
        now = graph.reshape(f"{name}/now", x, (n, 1, h, w, c))
    else:
        now = graph.reshape(f"{name}/feature", x, (n, 1, h, w, c))
        graph.give_role(now, "frame")
        now = graph.unary("HARD_SWISH", f"{name}/now", now)
    graph.give_role(now, "buffered")
    window = graph.concat(f"{name}/frames", [buffer, now], axis=1)
    kept = graph.slice(f"{name}/kept", buffer, axis=1, start=1, size=frames - 1)
    graph.output(state, graph.concat(state, [kept, now], axis=1))
    window = graph.reshape(f"{name}/window", window, (n, frames + 1, h * w, c))
    graph.give_role(window, "window")
    conv = builder.convs[name]
    y = graph.depthwise(
        name, window, conv.kernel, conv.bias, padding="VALID", activation=builder.fused
    )
    graph.give_role(y, "temporal")
    y = graph.reshape(f"{name}/frame", y, (n, h, w, c))
    return y if builder.fused else builder.hard_swish(name, y)


def _temporal_sum(builder: Builder, layer: Layer, x: str) -> str:
    """Convolve in space, then add up the products of past frames and this one with their taps.

    buffer_0  buffer_1  now         y = w_0 buffer_0 + w_1 buffer_1 + w_2 now + bias
    """
    graph, name = builder.graph, f"{layer.name}/temporal"
    now = builder.activated(f"{layer.name}/feature", x, layer.stride, depthwise=True)
    buffer = f"state_{layer.name}_stream_buffer"
    past = [graph.input(f"{buffer}_{i}", graph.shape(now)) for i in range(layer.kernel[0] - 1)]
    graph.output(buffer, now)
    conv = builder.convs[name]
    total = builder.channel_constant(f"{name}/bias", conv.bias)
    for i, (frame, tap) in enumerate(zip([*past, now], conv.kernel[:, 0, :, 0], strict=True)):
        weights = builder.channel_constant(f"{name}/tap{i}", tap)
        product = graph.binary("MUL", f"{name}/product{i}", frame, weights)
        last: Activation = builder.fused if frame == now else ""
        total = graph.binary("ADD", f"{name}/sum{i}", product, total, last)
    return total if builder.fused else builder.hard_swish(name, total)


def _gate(builder: Builder, layer: Layer, x: str, share: str, position: str | None) -> str:
    """Squeeze-excitation over the mean of all frames so far and of this one ("2plus3d").

    Returns relu6(z + 3); the slope is the projection's.
    """
    graph, name = builder.graph, layer.name
    pooled = graph.mean(f"{name}/pool/frame", x)
    mean = _running_mean(graph, name, pooled, share)
    z = graph.concat(f"{name}/pool", [mean, pooled], axis=3)
    if position is not None:
        z = graph.binary("ADD", f"{name}/positioned", z, position)
    z = builder.hard_swish(f"{name}/se_reduce", builder.conv(f"{name}/se_reduce", z))
    expand = builder.convs[f"{name}/se_expand"].scaled(builder.gate.factor).shifted(3)
    return builder.conv(f"{name}/se_expand", z, fused="relu6", conv=expand)


def _running_mean(graph: Graph, name: str, pooled: str, share: str) -> str:
    """mean + (pooled - mean) / (t + 1)"""
    state = f"state_{name}_pool_buffer"
    mean = graph.input(state, graph.shape(pooled))
    difference = _over_time(graph, "SUB", f"{name}/pool/difference", pooled, mean)
    change = _over_time(graph, "MUL", f"{name}/pool/change", difference, share)
    graph.output(state, _over_time(graph, "ADD", state, mean, change))
    return state


def _over_time(graph: Graph, kind: str, name: str, x: str, y: str) -> str:
    """An operator on the count of frames, or on an average over them."""
    return graph.give_role(graph.binary(kind, name, x, y), "time")


def _position(builder: Builder, layer: Layer, count: str) -> str:
    """Sines, then cosines, of the frame index at falling frequencies, times a learned scale."""
    graph, name = builder.graph, f"{layer.name}/position"
    half = layer.se_inputs // 2
    exponent = -2.0 * np.arange(half, dtype=np.float32) / np.float32(2 * half)
    frequency = builder.channel_constant(f"{name}/frequency", np.float32(10_000.0) ** exponent)
    angle = _over_time(graph, "MUL", f"{name}/angle", count, frequency)
    waves = [
        graph.give_role(graph.unary(kind, f"{name}/{kind.lower()}", angle), "time")
        for kind in ("SIN", "COS")
    ]
    encoding = graph.give_role(graph.concat(f"{name}/encoding", waves, axis=3), "time")
    learned = np.full(1, builder.weights[f"{layer.name}/positional_scale"], np.float32)
    scale = builder.channel_constant(f"{name}/scale", learned)
    return _over_time(graph, "MUL", name, encoding, scale)
