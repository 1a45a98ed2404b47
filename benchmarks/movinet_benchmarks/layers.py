"""Where a variant loses its fidelity: every layer's output beside the float32 model's."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_benchmarks.fidelity import sqnr_of_sums
from movinet_runtime.errors import ModelFileError
from movinet_runtime.model_file import ModelFile
from movinet_runtime.preprocess import SCALE
from movinet_runtime.quiet import native_messages_hidden
from movinet_runtime.tensors import TensorSpec, dequantized

Values = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class LayerError:
    """The signal to quantization noise of one tensor, its own error and all before it."""

    name: str
    sqnr_db: float


def layer_errors(
    variant: Path, reference: Path, frames: Iterable[NDArray[np.uint8]]
) -> list[LayerError]:
    """Run both models on frames, each with its own states, and compare tensors by name.

    Delegates hide what is inside them, so plain kernels run here: slow, and rounding may
    differ in the last code from what XNNPACK does.

    Returns:
        Errors of the activations that both files have, in the order of execution.

    Raises:
        ModelFileError: no common tensors (files of different exporters), or damaged.
    """
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    frames = list(frames)
    for found, expected in zip(
        _activations(variant, frames), _activations(reference, frames), strict=True
    ):
        for name, value in expected.items():
            if name in found and found[name].shape == value.shape:
                signal[name] = signal.get(name, 0.0) + float(np.square(value).sum())
                error = float(np.square(found[name] - value).sum())
                noise[name] = noise.get(name, 0.0) + error
    if not signal:
        raise ModelFileError(f"{variant} and {reference} have no tensors of the same names")
    return [LayerError(name, sqnr_of_sums(signal[name], noise[name])) for name in signal]


def _activations(path: Path, frames: Iterable[NDArray[np.uint8]]) -> Iterator[Values]:
    """Yield the floating point value of every computed tensor after each frame."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with native_messages_hidden():
        interpreter = Interpreter(
            model_content=ModelFile.read(path).content,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=plain,
        )
        runner = interpreter.get_signature_runner()
    details = runner.get_input_details()
    states = {n: np.zeros(d["shape"], d["dtype"]) for n, d in details.items() if n != "image"}
    computed = {int(t) for op in interpreter._get_ops_details() for t in op["outputs"]}
    tensors = [d for d in interpreter.get_tensor_details() if d["index"] in computed]
    for frame in frames:
        outputs = runner(image=frame[None, None] * SCALE, **states)
        states = {name: outputs[name] for name in states}
        yield {d["name"]: _value(interpreter, d) for d in tensors if d["dtype"] != np.int32}


def _value(interpreter: Any, detail: dict[str, Any]) -> NDArray[np.float32]:
    scale, zero_point = detail["quantization"]
    codes = interpreter.get_tensor(detail["index"])
    spec = TensorSpec(detail["name"], codes.shape, codes.dtype, float(scale), int(zero_point))
    return dequantized(codes, spec)
