"""SavedModels in the layout of the hub: variables by name, signatures that run."""

import re
from collections.abc import Sequence
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
IMAGE = "image"
CALL, INIT_STATES, SERVING = "call", "init_states", "serving_default"
# What each form of the gate multiplies with, where a graph computes it as it is written.
SLOPES: dict[float, Gate] = {
    float(np.float32(0.2)): "fifth",
    float(np.float32(HARD_SIGMOIDS["sixth"].slope)): "sixth",
}

SQUEEZE_EXCITATION = re.compile(r"(?:^|/)se(?:_expand)?/")
# Kinds of objects that are only made, not run, when a SavedModel is loaded.
PASSIVE = (
    "user_object",
    "variable",
    "function",
    "bare_concrete_function",
    "constant",
    "captured_tensor",
)
# Operators that compute, read the model's own variables, or call functions of the graph.
# fmt: off
PLAIN = frozenset((
    "Add", "AddN", "AddV2", "AvgPool", "AvgPool3D", "BiasAdd", "BroadcastTo", "Cast", "Concat",
    "ConcatV2", "Const", "Conv2D", "Conv3D", "Cos", "Cumsum", "DepthwiseConv2dNative",
    "DisableCopyOnRead", "Div", "DivNoNan", "Einsum", "Elu", "Equal", "Exp", "ExpandDims",
    "Fill", "FloorDiv", "FloorMod", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3",
    "GatherV2", "Greater", "GreaterEqual", "Identity", "IdentityN", "If", "LeakyRelu", "Less",
    "LessEqual", "LogicalAnd", "LogicalNot", "LogicalOr", "MatMul", "BatchMatMulV2", "Max",
    "MaxPool", "Maximum", "Mean", "Min", "Minimum", "Mul", "Neg", "NoOp", "Pack", "Pad",
    "PadV2", "PartitionedCall", "Placeholder", "Pow", "Prod", "Range", "ReadVariableOp",
    "RealDiv", "Reciprocal", "Relu", "Relu6", "Reshape", "Rsqrt", "Select", "SelectV2", "Shape",
    "Sigmoid", "Sin", "Slice", "Softmax", "SpaceToBatchND", "BatchToSpaceND", "Split", "SplitV",
    "Sqrt", "Square", "SquaredDifference", "Squeeze", "StatefulPartitionedCall", "StatelessIf",
    "StatelessWhile", "StopGradient", "StridedSlice", "Sub", "Sum", "Tanh", "Tile", "Transpose",
    "Unpack", "VarHandleOp", "While", "ZerosLike", "OnesLike", "Rank", "Size", "ConcatOffset"
))
# fmt: on


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
    original, notes = None, []
    runs = (CALL, INIT_STATES) if spec.streams else (SERVING,)
    if strange := _not_plain(meta, runs):
        notes.append(f"the SavedModel is not run: {strange}")
    else:
        original = Original(
            "the SavedModel, in TensorFlow",
            partial(_stream if spec.streams else _clip, folder),
            *_sizes(meta.signature_def[runs[0]]),
            from_folder=True,
        )
    reason = "its own graph computes it"
    return Read(tensors, files, gate, reason if gate else "", original, notes=notes)


def _folder(path: Path) -> Path | None:
    if (path / GRAPH).is_file():
        return path
    found = list(path.rglob(GRAPH)) if path.is_dir() else []
    return found[0].parent if len(found) == 1 else None


def _meta_graph(folder: Path) -> Any:
    from movinet_convert.backend import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((folder / GRAPH).read_bytes())
    if len(saved.meta_graphs) != 1:
        raise WeightsError(f"{folder} holds {len(saved.meta_graphs)} graphs instead of one")
    return saved.meta_graphs[0]


def _gate(meta: Any) -> Gate | None:
    """Look for the slopes of the hard sigmoids where squeeze-excitation multiplies with them.

    Graphs name their nodes after the layers, ``.../se/...``; where none does, all constants
    are looked at.
    """
    from movinet_convert.backend import tf

    nodes = [n for f in meta.graph_def.library.function for n in f.node_def if n.op == "Const"]
    inside = [node for node in nodes if SQUEEZE_EXCITATION.search(node.name)]
    for chosen in (inside, nodes):
        values = [
            tf.make_ndarray(node.attr["value"].tensor)
            for node in chosen
            if node.attr["value"].tensor.dtype == tf.float32.as_datatype_enum
        ]
        scalars = {float(value.ravel()[0]) for value in values if value.size == 1}
        found = [SLOPES[scalar] for scalar in scalars & SLOPES.keys()]
        if len(found) == 1:
            return found[0]
    return None


def _not_plain(meta: Any, signatures: Sequence[str]) -> str:
    """Say why a SavedModel is not run: it is a program, and may only be arithmetic.

    What its signatures call must be on the list of operators, and loading it must run nothing:
    no resources that are created, no savers of its own, no graph of TensorFlow 1.
    """
    inputs = meta.signature_def[signatures[0]].inputs if signatures[0] in meta.signature_def else {}
    if IMAGE not in inputs:
        return f"it has no signature '{signatures[0]}' that takes an '{IMAGE}'"
    objects = meta.object_graph_def.nodes
    if not objects:
        return "it is of TensorFlow 1"
    for node in objects:
        kind = node.WhichOneof("kind")
        if kind not in PASSIVE or node.saveable_objects or node.registered_saver:
            return "loading it would run parts of it"
    library = meta.graph_def.library.function
    known = {f.signature.name: f.node_def for f in library}
    if len(known) < len(library):
        return "two of its functions have one name"
    pending = [_function(objects, name) for name in signatures]
    seen: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in known:
            return "a function of its signatures is missing"
        seen.add(name)
        for node in known[name]:
            called = {a.func.name for a in node.attr.values() if a.HasField("func")}
            called |= {f.name for a in node.attr.values() for f in a.list.func}
            if node.op in known:
                called.add(node.op)
            elif node.op not in PLAIN:
                return f"it has the operator {node.op}, which is not plain arithmetic"
            pending += called - seen - set(pending)
    return ""


def _function(objects: Any, signature: str) -> str:
    """Return the function that a loaded model runs for a signature; empty where there is none."""

    def child(node: Any, name: str) -> Any:
        found = [c.node_id for c in node.children if c.local_name == name]
        return objects[found[0]] if len(found) == 1 and 0 <= found[0] < len(objects) else None

    table = child(objects[0], "signatures")
    node = None if table is None else child(table, signature)
    return "" if node is None else str(node.bare_concrete_function.concrete_function_name)


def _sizes(signature: Any) -> tuple[int | None, int | None]:
    """Return the one side and the one number of frames that a signature takes; None: any."""
    _, frames, height, *_ = (dim.size for dim in signature.inputs[IMAGE].tensor_shape.dim)
    one = signature.inputs.keys() != {IMAGE}  # a stream takes one frame at a time
    return (None if height < 0 else height), (None if frames < 0 or one else frames)


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
        logits.append(_answer(outputs)[0])
    return np.stack(logits)


def _clip(folder: Path, pictures: Pictures) -> Array:
    from movinet_convert.backend import tf

    outputs = _loaded(folder).signatures[SERVING](image=tf.constant(pictures[None] * SCALE))
    return _answer(dict(outputs))


def _answer(outputs: dict[str, Any]) -> Array:
    """Return the logits among what is no state: what is called so, or the only output."""
    if "logits" not in outputs and len(outputs) != 1:
        raise ValueError(f"which of its outputs are logits: {', '.join(sorted(outputs))}")
    return np.asarray(outputs.get("logits", next(iter(outputs.values()))))


def _loaded(folder: Path) -> Any:
    from movinet_convert.backend import tf

    return tf.saved_model.load(str(folder))
