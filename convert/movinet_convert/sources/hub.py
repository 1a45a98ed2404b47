"""SavedModels in the layout of the hub: variables by name, signatures that run."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from movinet_convert.parameters import HARD_SIGMOIDS, Array
from movinet_convert.sources.garden import read_checkpoint
from movinet_convert.sources.loaded import Original, Pictures, Read
from movinet_models.errors import WeightsError
from movinet_models.family import Gate, ModelSpec
from movinet_runtime.preprocess import SCALE

GRAPH = "saved_model.pb"
CALL, INIT_STATES, SERVING = "call", "init_states", "serving_default"
# What each form of the gate multiplies with, where a graph computes it as it is written.
SLOPES: dict[float, Gate] = {
    float(np.float32(0.2)): "fifth",
    float(np.float32(HARD_SIGMOIDS["sixth"].slope)): "sixth",
}


def reads(path: Path) -> bool:
    """Whether there is one SavedModel."""
    return _folder(path) is not None


def read(path: Path, spec: ModelSpec) -> Read:
    """Read the variables by their names, and the gate from the graph.

    Raises:
        WeightsError: unreadable.
    """
    folder = _folder(path)
    if folder is None:
        raise WeightsError(f"{path} holds no SavedModel")
    tensors, files = read_checkpoint(folder / "variables" / "variables", by_name=True)
    meta = _meta_graph(folder)
    gate = _gate(meta) if spec.gated else None
    runs = {CALL, INIT_STATES} if spec.streams else {SERVING}
    original = None
    if runs <= set(meta.signature_def):
        run = partial(_stream if spec.streams else _clip, folder)
        original = Original("the SavedModel, in TensorFlow", run, from_folder=True)
    reason = "its own graph computes it"
    return Read(tensors, files, gate, reason if gate else "", original)


def _folder(path: Path) -> Path | None:
    if (path / GRAPH).is_file():
        return path
    found = list(path.rglob(GRAPH)) if path.is_dir() else []
    return found[0].parent if len(found) == 1 else None


def _meta_graph(folder: Path) -> Any:
    from movinet_convert.backend import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString((folder / GRAPH).read_bytes())
        return saved.meta_graphs[0]
    except Exception as error:  # protobuf's own, whose class differs between its implementations
        raise WeightsError(f"{folder / GRAPH} cannot be read as a SavedModel") from error


def _gate(meta: Any) -> Gate | None:
    """Look for the slopes of the hard sigmoids among the constants of squeeze-excitation."""
    from movinet_convert.backend import tf

    found = set()
    for function in meta.graph_def.library.function:
        for node in function.node_def:
            if node.op != "Const" or node.attr["value"].tensor.dtype != tf.float32.as_datatype_enum:
                continue
            value = tf.make_ndarray(node.attr["value"].tensor)
            if value.size == 1 and float(value.ravel()[0]) in SLOPES:
                found.add(SLOPES[float(value.ravel()[0])])
    return found.pop() if len(found) == 1 else None


def _stream(folder: Path, pictures: Pictures) -> Array:
    """Run ``call`` frame by frame from the states of ``init_states``."""
    from movinet_convert.backend import tf

    model = _loaded(folder)
    call, init = model.signatures[CALL], model.signatures[INIT_STATES]
    shape = (1, 1, *pictures.shape[1:])
    states = dict(init(tf.constant(shape, tf.int32)))
    logits = []
    for picture in pictures:
        outputs = dict(call(image=tf.constant(picture[None, None] * SCALE), **states))
        states = {name: outputs.pop(name) for name in states}
        (answer,) = outputs.values()
        logits.append(np.asarray(answer)[0])
    return np.stack(logits)


def _clip(folder: Path, pictures: Pictures) -> Array:
    from movinet_convert.backend import tf

    outputs = _loaded(folder).signatures[SERVING](image=tf.constant(pictures[None] * SCALE))
    (answer,) = outputs.values()
    return np.asarray(answer)


def _loaded(folder: Path) -> Any:
    from movinet_convert.backend import tf

    return tf.saved_model.load(str(folder))
