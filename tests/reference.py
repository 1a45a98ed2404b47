"""Weights and frames of the reference implementation, made from seeds alone.

``data/seeded`` holds the logits that it computed from these; nothing else is stored.
"""

import re
import zlib
from pathlib import Path

import numpy as np

from movinet_convert.parameters import Array, Weights, parameters
from movinet_models.family import ModelSpec

CLASSES = 12
FRAMES = 4
SEEDED = Path(__file__).parent / "data" / "seeded"

# Part of a unit -> where the reference keeps it, and how it numbers its 2-D convolutions.
STREAM_UNITS = {
    "stem": ("stem/stem/conv2d", "conv2d"),
    "expansion": ("bneck/expansion/conv2d", "conv2d"),
    "feature": ("bneck/feature/conv2d", "depthwise_conv2d"),
    "temporal": ("bneck/feature/conv2d_temporal", "depthwise_conv2d_1"),
    "se_reduce": ("bneck/se/se_reduce/conv2d", "conv2d_1"),
    "se_expand": ("bneck/se/se_expand/conv2d", "conv2d_2"),
    "projection": ("bneck/projection/conv2d", "conv2d_3"),
    "skip": ("bneck/skip/skip_project/conv2d", "conv2d_4"),
    "project": ("head/project/conv2d", "conv2d"),
    "head": ("classifier_head/head/conv2d", "conv2d"),
    "classifier": ("classifier_head/classifier/conv2d", "conv2d_1"),
}


def reference_name(name: str, streams: bool) -> str:
    """Translate a canonical name of ours into the reference's variable name."""
    match = re.fullmatch(r"(block\d+_layer\d+/)?(?:(\w+)/)?(\w+)", name)
    assert match is not None
    layer, part, leaf = match[1] or "", match[2], match[3]
    if part is None:
        return layer + ("bneck/se/pos_encoding/scale" if leaf.startswith("pos") else leaf)
    place, conv = STREAM_UNITS[part]
    if not streams:
        place, conv = place.removesuffix("/conv2d"), "conv3d"
    if leaf in ("kernel", "bias"):
        depthwise = conv.startswith("depthwise") and leaf == "kernel"
        return f"{layer}{place}/{conv}/{'depthwise_kernel' if depthwise else leaf}"
    norm = "bn_temporal" if part == "temporal" else "bn"
    return f"{layer}{place}/{norm}/{leaf}"


def reference_shape(name: str, shape: tuple[int, ...], streams: bool) -> tuple[int, ...]:
    """The reference's shape of a tensor: base kernels are 3-D."""
    if streams or not name.endswith("/kernel"):
        return shape
    if name.endswith("feature/kernel"):
        return (*shape[:3], 1, shape[3])
    return (1, *shape)


def seeded_tensor(name: str, shape: tuple[int, ...]) -> Array:
    """A tensor of the reference, by its name there."""
    r = np.random.default_rng(zlib.crc32(name.encode()))
    match name.rpartition("/")[2]:
        case "gamma":
            value = r.uniform(0.7, 1.3, shape)
        case "beta" | "moving_mean":
            value = r.normal(0, 0.3, shape)
        case "moving_variance":
            value = r.uniform(0.5, 1.5, shape)
        case "bias":
            value = r.normal(0, 0.2, shape)
        case "scale":
            value = r.normal(0, 0.1, shape)
        case "depthwise_kernel":
            value = r.normal(0, 1, shape) * np.sqrt(2 / (shape[0] * shape[1]))
        case _:
            value = r.normal(0, 1, shape) * np.sqrt(2 / np.prod(shape[:-1]))
    return np.asarray(value, np.float32)


def seeded_weights(spec: ModelSpec) -> Weights:
    """All weights of a model in our names and shapes."""
    return {
        name: seeded_tensor(
            reference_name(name, spec.streams), reference_shape(name, shape, spec.streams)
        ).reshape(shape)
        for name, shape in parameters(spec, CLASSES).items()
    }


def seeded_frames(spec: ModelSpec) -> Array:
    """Four frames of blocky noise, float32 [4, h, w, 3] in [0, 1]."""
    blocks = -(-spec.resolution // 8)
    noise = np.random.default_rng(7).integers(0, 256, (FRAMES, blocks, blocks, 3), np.uint8)
    pixels = noise.repeat(8, axis=1).repeat(8, axis=2)
    cut = pixels[:, : spec.resolution, : spec.resolution]
    return cut.astype(np.float32) / np.float32(255)


def seeded_logits(spec: ModelSpec) -> Array:
    """What the reference computed: stream [4, 12] after each frame, base [1, 12]."""
    return np.asarray(np.load(SEEDED / f"{spec.member}_{spec.form}.npy"))


def relative_error(found: Array, expected: Array) -> float:
    """The largest difference, relative to the range of what is expected."""
    return float(np.abs(found - expected).max() / np.ptp(expected))
