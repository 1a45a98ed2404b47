"""Canonical names for the variables of TensorFlow's published layouts."""

import re

# Tokens of a source's tensor path that name a unit. The order matters where one path
# has two of them: head/project, classifier_head/head, _skip/_projection.
PARTS = (
    "stem",
    "project",
    "classifier",
    "head",
    "skip",
    "expansion",
    "feature",
    "se_reduce",
    "se_expand",
    "projection",
)
HUB_LAYER = re.compile(r"(?:block|\bb)(\d+)(?:_layer|/l)(\d+)/")
GARDEN_LAYER = re.compile(r"layer_with_weights-(\d+)/(?:layer_with_weights-(\d+)/)?(.*)")


def hub_name(name: str) -> str:
    """Return the canonical name of a variable, in either generation of published names."""
    layer = HUB_LAYER.search(name)
    prefix = f"block{layer[1]}_layer{layer[2]}/" if layer else ""
    return _canonical(prefix, name[layer.end() :] if layer else name)


def garden_name(key: str) -> str:
    """Return the canonical name of a checkpoint key, with the layer's number for its name.

    The backbone counts the stem as 0, bottlenecks as 1..n, the projection as n+1.
    """
    match = GARDEN_LAYER.search(key)
    if match is None:
        return key
    path = match[3].removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").replace("/_", "/").lstrip("_")
    in_layer = match[2] is not None and path.split("/")[0] not in ("stem", "project")
    return _canonical(f"#{match[2]}/" if in_layer else "", path)


def _canonical(prefix: str, path: str) -> str:
    tokens = path.split("/")
    leaf = tokens[-1].replace("depthwise_kernel", "kernel")
    if leaf == "scale":
        return prefix + ("positional_scale" if "pos_encoding" in tokens else "scale")
    part = next((part for part in PARTS if part in tokens), None)
    if part is None:
        return prefix + path
    if part == "feature" and any("temporal" in token for token in tokens):
        part = "temporal"
    return f"{prefix}{part}/{leaf}"
