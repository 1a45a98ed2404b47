"""The base form as a TFLite graph: a clip of a fixed number of frames in, logits out.

Frames are the batch of 4-D operators. TFLite has no depthwise 3-D convolution; one
is a sum over its taps in time of 2-D ones:

    padded  0 x0 x1 x2 x3 0      tap i sees the frames i .. i+T-1 of it
    y  =  tap0(0 x0 x1 x2) + tap1(x0 x1 x2 x3) + tap2(x1 x2 x3 0)
"""

import numpy as np

from movinet_convert.blocks import Builder
from movinet_convert.graph import Graph
from movinet_convert.parameters import Weights
from movinet_models.family import Layer, ModelSpec


def build(spec: ModelSpec, weights: Weights, frames: int) -> Graph:
    """Return the clip graph of a base model (paper, section 3.1).

    Its signature: ``image`` float32 [1, frames, H, W, 3] in [0, 1], ``logits`` [1, classes].

    Args:
        spec: a base model.
        weights: every tensor of :func:`movinet_convert.parameters.parameters`.
        frames: the clip's fixed length.
    """
    builder = Builder.of(spec, weights)
    graph, side = builder.graph, spec.resolution
    image = graph.input("image", (1, frames, side, side, 3))
    x = graph.reshape("frames", image, (frames, side, side, 3))
    x = builder.swish("stem", builder.conv("stem", x, stride=2))
    for layer in spec.layers():
        x = _bottleneck(builder, layer, x)
    x = builder.swish("project", builder.conv("project", x))
    builder.classify(_clip_mean(graph, "head", x))
    return graph


def _bottleneck(builder: Builder, layer: Layer, x: str) -> str:
    name = layer.name
    y = builder.swish(f"{name}/expansion", builder.conv(f"{name}/expansion", x))
    y = builder.swish(f"{name}/feature", _depthwise_3d(builder, layer, y))
    z = _clip_mean(builder.graph, name, y)
    z = builder.swish(f"{name}/se_reduce", builder.conv(f"{name}/se_reduce", z))
    z = builder.conv(f"{name}/se_expand", z)
    gate = builder.graph.unary("LOGISTIC", f"{name}/gate", z)
    return builder.residual(layer, x, builder.graph.binary("MUL", f"{name}/gated", y, gate))


def _depthwise_3d(builder: Builder, layer: Layer, x: str) -> str:
    graph, name = builder.graph, f"{layer.name}/feature"
    conv, taps = builder.convs[name], layer.kernel[0]
    if taps == 1:
        return graph.depthwise(name, x, conv.kernel[0], conv.bias, layer.stride)
    frames = graph.shape(x)[0]
    padded = graph.pad(f"{name}/padded", x, axis=0, before=taps // 2, after=taps // 2)
    total = ""
    for i in range(taps):
        tap = f"{name}/tap{i}"
        seen = graph.slice(f"{tap}/frames", padded, axis=0, start=i, size=frames)
        bias = conv.bias if i == 0 else np.zeros_like(conv.bias)
        y = graph.depthwise(tap, seen, conv.kernel[i], bias, layer.stride)
        total = y if i == 0 else graph.binary("ADD", f"{tap}/sum", total, y)
    return total


def _clip_mean(graph: Graph, name: str, x: str) -> str:
    """Average over space and time in two steps that a delegate takes: [1, 1, 1, c]."""
    frames, _, _, c = graph.shape(x)
    pooled = graph.mean(f"{name}/pool/frames", x)
    pooled = graph.reshape(f"{name}/pool/time", pooled, (1, frames, 1, c))
    return graph.mean(f"{name}/pool", pooled)
