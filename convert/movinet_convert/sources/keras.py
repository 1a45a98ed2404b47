"""Files of this toolkit: ``.keras`` as training saves them, ``.npz`` in half the size."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from movinet_convert.parameters import DEFAULT_GATE
from movinet_convert.sources.loaded import NOT_STATED, LoadedWeights, Read
from movinet_models.errors import WeightsError
from movinet_models.family import GATES, ModelSpec
from movinet_runtime.files import written_whole

ABOUT = "about"  # the entry of an .npz file that is no tensor
TRAINED = ("labels", "resolution", "clip_frames", "horizon")  # and what it says
LATER = ("gate", "licence", "trained_on", "thresholds", "prior")  # and what older files do not
SAYS = "the file says so"


def reads(path: Path) -> bool:
    """Whether the name ends in .keras or .npz."""
    return path.is_file() and path.suffix.lower() in (".keras", ".npz")


def read(path: Path, spec: ModelSpec) -> Read:
    """Read the tensors, and what else the file says.

    Raises:
        WeightsError: unreadable, or no file of this toolkit.
    """
    return _read_keras(path) if path.suffix.lower() == ".keras" else _read_npz(path)


def _read_keras(path: Path) -> Read:
    from movinet_convert.backend import keras
    from movinet_convert.network import MoViNet

    network = keras.models.load_model(path, compile=False)
    if not isinstance(network, MoViNet):
        raise WeightsError(f"{path} is a Keras model, but not a MoViNet of this toolkit")
    return Read(
        {name: np.asarray(value) for name, value in network.parameters().items()},
        [path],
        network.gate,
        SAYS,
        labels=network.labels,
        resolution=network.spec.resolution,
        clip_frames=network.clip_frames,
        horizon=network.horizon,
        trained_on=network.trained_on,
        thresholds=network.thresholds,
        prior=network.prior,
    )


def _read_npz(path: Path) -> Read:
    """Read what :func:`save_npz` wrote."""
    with np.load(path) as file:
        tensors = {name: file[name] for name in file.files}
    if ABOUT not in tensors:
        raise WeightsError(f"{path} is no .npz file of this toolkit: it does not say what it is")
    about: dict[str, Any] = json.loads(str(tensors.pop(ABOUT)))
    known = {name: about[name] for name in TRAINED}
    gate = about.get("gate") or DEFAULT_GATE  # the first files were all trained with it
    if gate not in GATES:
        raise WeightsError(f"{path} has a gate that nobody knows: {gate}")
    values = {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}
    later: dict[str, Any] = {name: about.get(name) for name in LATER if name != "gate"}
    return Read(values, [path], gate, SAYS, **later, **known)


def save_npz(loaded: LoadedWeights, path: Path) -> None:
    """Write weights in half the size: kernels in float16, all else as it is.

    Raises:
        UsageError: the file cannot be written.
    """
    about = {name: getattr(loaded, name) for name in (*TRAINED, *LATER)}
    if loaded.licence == NOT_STATED:  # the file does not state it either
        del about["licence"]
    arrays = {
        name: tensor.astype(np.float16) if name.endswith("/kernel") else tensor
        for name, tensor in loaded.weights.items()
    }
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{ABOUT: np.array(json.dumps(about))}, **arrays)  # type: ignore[arg-type]
