"""From weights to an ONNX file: the graph that is proven as a .tflite, and compared with it."""

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from movinet_convert import clip_graph, stream_graph
from movinet_convert.export import Exported, Say, export, parity_clip
from movinet_convert.onnx_file import OPERATOR_SET, output_name, serialize
from movinet_convert.parameters import Array
from movinet_convert.proof import Parity, ParityError, compared, file_logits
from movinet_models.family import ModelSpec
from movinet_runtime.files import writing, written_whole
from movinet_runtime.install import install_hint
from movinet_runtime.model_file import METADATA_NAME, ModelFile
from movinet_runtime.preprocess import SCALE

MAX_ERROR = 1e-5  # of the logits' range, against the .tflite: the same sums in another order


@dataclass(frozen=True)
class Contents:
    """What is inside an ONNX file.

    Attributes:
        ops: nodes by kind.
        inputs, outputs: shapes by name.
        metadata: the description (docs/onnx.md).
    """

    file_bytes: int
    ops: Mapping[str, int]
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, Any]

    @property
    def state_bytes(self) -> int:
        """Memory of all states together."""
        return sum(4 * int(np.prod(self.inputs[name])) for name in self.metadata["states"])

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "file_bytes": self.file_bytes,
            "state_bytes": self.state_bytes,
            "operator_set": OPERATOR_SET,
            "inputs": [{"name": name, "shape": list(s)} for name, s in self.inputs.items()],
            "outputs": [{"name": name, "shape": list(s)} for name, s in self.outputs.items()],
            "states": list(self.metadata["states"]),
            "ops": dict(self.ops),
            "metadata": dict(self.metadata),
        }


@dataclass(frozen=True)
class OnnxExported:
    """A written ONNX file and what is known about it.

    Attributes:
        parity: of the float32 .tflite with its source and Keras; the last is that of this file
            with the .tflite, where onnxruntime is installed.
    """

    path: Path
    inspection: Contents
    parity: list[Parity]
    notes: list[str]
    variant: str = "float32"
    fidelity: None = None  # it is what others are compared with


def export_onnx(
    spec: ModelSpec,
    source: str,
    path: Path,
    *,
    clip: Path | None = None,
    report: Say = lambda step: None,
    **options: Any,
) -> OnnxExported:
    """Export a float32 model as ONNX.

    The weights are first made a float32 .tflite, which is compared with their source and with
    Keras as every export is; then this file is compared with that one in onnxruntime, if that
    is installed.

    Args:
        spec, source, clip, report: as in :func:`movinet_convert.export.export`, which takes
        options: too.
        path: where the file goes; it is replaced only by a whole one.

    Raises:
        ParityError: the file does not compute what the .tflite does.
        MovinetError: as in :func:`movinet_convert.export.export`. Nothing is written.
    """
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        tflite = Path(folder) / "float32.tflite"
        (proven,) = export(spec, source, {"float32": tflite}, clip=clip, report=report, **options)
        report("writing the graph as ONNX")
        model = ModelFile.read(tflite)
        spec = spec.at(model.metadata["resolution"])
        frames = 0 if spec.streams else proven.inspection.inputs[0].shape[1]
        parity, notes = list(proven.parity), list(proven.notes)
        content = _written(spec, proven, frames, model.metadata)
        found = _compared(content, tflite, *parity_clip(spec, clip, frames or 16), report)
        if found is None:
            hint = install_hint("movinet-convert[onnx]")
            notes.append(f"the ONNX file was not run, onnxruntime is not installed: {hint}")
        else:
            parity.append(found)
    report("writing")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_bytes(content)
    return OnnxExported(path, contents(content), parity, notes)


def _written(spec: ModelSpec, proven: Exported, frames: int, about: Mapping[str, Any]) -> bytes:
    """Return the file's bytes."""
    weights = proven.loaded.weights
    if spec.streams:
        gate = proven.loaded.hard_sigmoid
        graph = stream_graph.build(spec, weights, gate, frames_apart=True)
    else:
        graph = clip_graph.build(spec, weights, frames)
    states = {
        name: output_name(then) if then in graph.outputs else then
        for name, then in stream_graph.successors(graph).items()
    }
    tools = {**about["tools"], "onnx": version("onnx")}
    description = {**about, "states": states, "in_place": False, "tools": tools}
    raw = json.dumps(description, ensure_ascii=False, separators=(",", ":"))
    return serialize(graph, f"MoViNet {spec.id} float32", {METADATA_NAME: raw})


def _compared(
    content: bytes, tflite: Path, pictures: NDArray[np.uint8], clip: str, report: Say
) -> Parity | None:
    """Compare a file with the .tflite of the same graph; None without onnxruntime."""
    try:
        import onnxruntime
    except ImportError:
        return None
    report("running the ONNX file")
    against = f"the float32 .tflite, in onnxruntime {onnxruntime.__version__}"
    expected = file_logits(tflite, pictures)
    parity = compared(onnx_logits(content, pictures), expected, against, len(pictures), clip)
    if not parity.error <= MAX_ERROR:  # NaN is not
        raise ParityError(f"not what {against}, computes: {parity}, more than {MAX_ERROR:g}")
    return parity


def onnx_logits(content: bytes, pictures: NDArray[np.uint8]) -> Array:
    """Run a clip through an ONNX file, frame by frame or, if it has no states, at once.

    Args:
        content: the file's.
        pictures: uint8 [frames, h, w, 3] of the model's size.

    Returns:
        Logits [frames, classes] or [1, classes].
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map[METADATA_NAME])
    names = [output.name for output in session.get_outputs()]
    inputs = {i.name: np.zeros(i.shape, np.float32) for i in session.get_inputs()}
    images = (pictures * SCALE).transpose(0, 3, 1, 2)
    logits = []
    for image in images[:, None] if about["states"] else [images]:
        inputs["image"] = image
        values = inputs | dict(zip(names, session.run(None, inputs), strict=True))
        inputs = {state: values[then] for state, then in about["states"].items()}
        logits.append(values["logits"][0])
    return np.stack(logits)


def contents(content: bytes) -> Contents:
    """Look into a file that this module wrote."""
    model = onnx.load_from_string(content)
    inputs, outputs = (
        {one.name: tuple(d.dim_value for d in one.type.tensor_type.shape.dim) for one in values}
        for values in (model.graph.input, model.graph.output)
    )
    (entry,) = model.metadata_props
    ops = Counter(node.op_type for node in model.graph.node)
    return Contents(len(content), ops, inputs, outputs, json.loads(entry.value))
