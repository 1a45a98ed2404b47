"""Write a ``.pth`` as torch.save does, without torch, from canonical weights."""

import io
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from movinet_convert.parameters import Weights
from movinet_convert.sources.torch import LAYER_PARTS, LEAVES, PARTS

NAMES = {leaf: theirs for theirs, leaf in LEAVES.items()}


class FakeTensor:
    """What the pickler writes as torch writes a tensor."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array


def state_dict(weights: Weights) -> dict[str, np.ndarray]:
    """Name and turn canonical weights as MoViNet-pytorch does."""
    base = any(w.ndim == 5 for w in weights.values())
    found: dict[str, np.ndarray] = {}
    for name, value in weights.items():
        *place, leaf = name.split("/")
        prefix, parts = "", PARTS
        if place[0].startswith("block"):
            prefix, parts = (
                f"blocks.{place[0].replace('block', 'b').replace('layer', 'l')}.",
                LAYER_PARTS,
            )
            if len(place) == 1:
                found[f"{prefix}alpha"] = value
                continue
        part = next(theirs for theirs, ours in parts.items() if ours == place[-1])
        key = f"{prefix}{part}."
        if leaf in NAMES:
            found[key + NAMES[leaf]] = value
            continue
        convolution = f"{key}conv{3 if base else 2}d."
        if leaf == "bias":
            found[f"{convolution}bias"] = value
            continue
        found[f"{convolution}weight"] = _turned(value, place[-1], base)
        if place[-1] in ("feature", "stem"):
            found[f"{key}norm.num_batches_tracked"] = np.array(3, np.int64)
    return found


def _turned(kernel: np.ndarray, part: str, base: bool) -> np.ndarray:
    if base and kernel.ndim == 4:
        kernel = kernel[None]
    order = (-2, -1) if part in ("feature", "temporal") else (-1, -2)
    space = range(kernel.ndim - 2)
    return kernel.transpose(*(i % kernel.ndim for i in order), *space)


def save(content: Any, path: Path, extra: Mapping[str, bytes] | None = None) -> Path:
    """Write a zip with a pickle and the tensors' bytes beside it."""
    storages: list[np.ndarray] = []
    utils, torch = types.ModuleType("torch._utils"), types.ModuleType("torch")
    rebuild = types.FunctionType((lambda *_: None).__code__, {}, "_rebuild_tensor_v2")
    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild  # type: ignore[attr-defined]
    kinds = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}
    for kind in kinds.values():
        setattr(torch, kind, type(kind, (), {"__module__": "torch"}))

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            if not isinstance(obj, tuple) or len(obj) != 2 or obj[0] != "storage":
                return None
            storages.append(obj[1])
            kind = getattr(torch, kinds[obj[1].dtype.name])
            return ("storage", kind, str(len(storages) - 1), "cpu", obj[1].size)

        def reducer_override(self, obj: Any) -> Any:
            if not isinstance(obj, FakeTensor):
                return NotImplemented
            array = np.ascontiguousarray(obj.array).reshape(obj.array.shape)
            stride = tuple(n // array.itemsize for n in array.strides)
            return rebuild, (("storage", array), 0, array.shape, stride, False, OrderedDict())

    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        file = io.BytesIO()
        Pickler(file, protocol=2).dump(content)
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", file.getvalue())
        archive.writestr("archive/byteorder", "little")
        for i, array in enumerate(storages):
            archive.writestr(f"archive/data/{i}", array.tobytes())
        for name, data in (extra or {}).items():
            archive.writestr(name, data)
    return path


def save_weights(weights: Weights, path: Path) -> Path:
    """Write canonical weights as a state dict."""
    tensors = OrderedDict((k, FakeTensor(v)) for k, v in state_dict(weights).items())
    return save(tensors, path)
