"""PyTorch state dicts in the layout of Atze00/MoViNet-pytorch, read without torch.

A ``.pth`` is a zip with a pickle in it, and a pickle is a program. The one here may name
what a dictionary of tensors needs and nothing else; any other name ends the reading.
"""

import io
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_convert.sources.loaded import Read
from movinet_models.errors import WeightsError
from movinet_models.family import ModelSpec

ENDINGS = (".pth", ".pt")
STORAGES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
}
PARTS = {
    "conv1.conv_1": "stem",
    "conv7.conv_1": "project",
    "classifier.0.conv_1": "head",
    "classifier.3.conv_1": "classifier",
}
LAYER = re.compile(r"blocks\.b(\d+)_l(\d+)\.(.*)")
LAYER_PARTS = {
    "expand.conv_1": "expansion",
    "deep.conv_1": "feature",
    "deep.conv_2": "temporal",
    "se.fc1.conv_1": "se_reduce",
    "se.fc2.conv_1": "se_expand",
    "project.conv_1": "projection",
    "res.1.conv_1": "skip",  # after the pool, and
    "res.0.conv_1": "skip",  # where there is none
}
LEAVES = {
    "norm.weight": "gamma",
    "norm.bias": "beta",
    "norm.running_mean": "moving_mean",
    "norm.running_var": "moving_variance",
}
CONVOLUTION = re.compile(r"conv[23]d\.(weight|bias)")
MAX_BYTES = 2 << 30  # unpacked; A5 has 0.1
COUNTED = "norm.num_batches_tracked"
# That port writes clip(0.2 x + 0.5, 0, 1), and is tested to equal the published weights.
REASON = "MoViNet-pytorch computes it"


@dataclass(frozen=True)
class _Storage:
    dtype: np.dtype[Any]
    data: bytes


def reads(path: Path) -> bool:
    """Whether the name ends as PyTorch's files do, or the file holds what they hold."""
    return path.is_file() and (path.suffix.lower() in ENDINGS or _pickle_in(path) is not None)


def read(path: Path, spec: ModelSpec) -> Read:
    """Read a state dict; nothing in it is executed, and torch is not needed.

    Raises:
        WeightsError: unreadable, another layout, or a pickle that asks for more than tensors.
    """
    state = _state_dict(path)
    tensors: dict[str, NDArray[Any]] = {}
    for key, tensor in state.items():
        if key.endswith(COUNTED):
            continue
        name, leaf = canonical(key)
        if name in tensors:
            raise WeightsError(f"{path}: two tensors are '{name}'; the second is {key}")
        tensors[name] = _arranged(tensor, name) if leaf == "kernel" else tensor
    return Read(tensors, [path], "fifth" if spec.gated else None, REASON if spec.gated else "")


def canonical(key: str) -> tuple[str, str]:
    """Return the canonical name of an entry of the state dict and the name's last part."""
    key = key.removeprefix("module.")  # of models that were trained on several devices
    prefix, parts = "", PARTS
    if layer := LAYER.fullmatch(key):
        prefix, key, parts = f"block{layer[1]}_layer{layer[2]}/", layer[3], LAYER_PARTS
        if key == "alpha":
            return f"{prefix}scale", "scale"
    for part, name in parts.items():
        tail = key.removeprefix(f"{part}.")
        if tail == key:
            continue
        if tail in LEAVES:
            return f"{prefix}{name}/{LEAVES[tail]}", LEAVES[tail]
        if convolution := CONVOLUTION.fullmatch(tail):
            leaf = "kernel" if convolution[1] == "weight" else "bias"
            return f"{prefix}{name}/{leaf}", leaf
    return prefix + key, ""


def _arranged(tensor: NDArray[Any], name: str) -> NDArray[Any]:
    """[out, in, ...space] -> [...space, in, out]; depthwise [c, 1, ...] -> [..., c, 1]."""
    depthwise = name.endswith(("feature/kernel", "temporal/kernel"))
    order = (0, 1) if depthwise else (1, 0)
    return tensor.transpose(*range(2, tensor.ndim), *order)


def _state_dict(path: Path) -> dict[str, NDArray[Any]]:
    pickled = _pickle_in(path)
    if pickled is None:
        raise WeightsError(
            f"{path} is not the zip that torch.save writes since 1.6: load it there and save it "
            "again"
        )
    folder = pickled.removesuffix("data.pkl")
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
            raise WeightsError(f"{path} would unpack to more than {MAX_BYTES >> 30} GiB")
        order = f"{folder}byteorder"
        if order in archive.namelist() and archive.read(order).strip() != b"little":
            raise WeightsError(f"{path} was written on a big-endian machine")
        content = io.BytesIO(archive.read(pickled))
        found = _Unpickler(content, path, cache(partial(_storage, archive, folder))).load()
    inner = _entries(found).get("state_dict", found)
    tensors = _entries(inner)
    if not tensors or not all(
        isinstance(key, str) and isinstance(value, np.ndarray) for key, value in tensors.items()
    ):
        raise WeightsError(f"{path} holds no state dict (tensors by name)")
    return tensors


def _entries(found: Any) -> dict[Any, Any]:
    """Return what a dictionary holds; its own methods are what the pickle made of them."""
    return dict(dict.items(found)) if isinstance(found, dict) else {}


def _pickle_in(path: Path) -> str | None:
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        found = [name for name in archive.namelist() if name.endswith("data.pkl")]
    return found[0] if len(found) == 1 else None


def _storage(archive: zipfile.ZipFile, folder: str, dtype: np.dtype[Any], key: str) -> _Storage:
    return _Storage(dtype, archive.read(f"{folder}data/{key}"))


# The one in Python: that in C reserves as much memory as a pickle's first memo index asks for.
class _Unpickler(pickle._Unpickler):
    def __init__(
        self, file: io.BytesIO, path: Path, storage: Callable[[np.dtype[Any], str], _Storage]
    ) -> None:
        super().__init__(file)
        self.path = path
        self.storage = storage
        self.left = MAX_BYTES

    def persistent_load(self, pid: Any) -> _Storage:
        """Read what an id means: ("storage", type, key, device, number of values)."""
        _, dtype, key, *_ = pid
        if not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError("a storage of an unknown type")
        return self.storage(dtype, str(key))

    def tensor(self, *arguments: Any) -> NDArray[Any]:
        """Make a tensor, as long as there is room: many may be of one storage."""
        made = _tensor(*arguments)
        self.left -= made.nbytes
        if self.left < 0:
            raise pickle.UnpicklingError(f"its tensors take more than {MAX_BYTES >> 30} GiB")
        return made

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): type("OrderedDict", (OrderedDict,), {}),
            # Made anew for each file: a pickle may write to what it is given.
            ("torch._utils", "_rebuild_tensor_v2"): lambda *arguments: self.tensor(*arguments),
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
        } | {("torch", storage): np.dtype(f"<{kind}") for storage, kind in STORAGES.items()}
        if (module, name) not in known:
            raise WeightsError(
                f"{self.path} is refused: its pickle asks for {module}.{name}, which a "
                "dictionary of tensors does not need; save model.state_dict() instead"
            )
        return known[module, name]


def _tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> NDArray[Any]:
    flat = np.frombuffer(storage.data, storage.dtype)
    if len(shape) != len(stride) or any(n < 0 for n in (offset, *shape, *stride)):
        raise pickle.UnpicklingError("a tensor with a strange shape")
    if 0 in shape:
        return np.zeros(shape, storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if last >= len(flat) or np.prod(shape, dtype=np.float64) > len(flat):
        raise pickle.UnpicklingError("a tensor that ends after its storage")
    steps = tuple(step * flat.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(flat[offset:], shape, steps).copy()
