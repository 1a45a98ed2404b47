"""Base models: a whole clip goes in at once, and there is no state."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_benchmarks.protocol import Picture, filled
from movinet_runtime import StreamModel
from movinet_runtime.classifier import DEFAULT_FPS, checked_labels
from movinet_runtime.engines import default_threads
from movinet_runtime.engines.interpreter import load_interpreter, signature_specs
from movinet_runtime.errors import ModelFileError
from movinet_runtime.model_file import ModelFile
from movinet_runtime.tensors import TensorSpec, dequantized, quantized


class ClipModel:
    """A loaded base model.

    Args:
        model: a ``.tflite`` whose image is [1, frames, height, width, 3].
        labels: in the order of the logits; default: those in the file.
        threads: of the interpreter; default: the physical cores up to four.

    Raises:
        ModelFileError: missing, damaged, or another kind of model.
        LabelsError: not as many labels as logits.
    """

    def __init__(
        self,
        model: Path | str,
        labels: Sequence[str] | None = None,
        threads: int | None = None,
    ) -> None:
        file = ModelFile.read(model)
        self.path = file.path
        self.metadata: Mapping[str, Any] = file.metadata
        interpreter = load_interpreter(file, threads or default_threads())
        inputs, outputs = signature_specs(interpreter, file)
        self._image, self._logits = _only(inputs, self.path), _only(outputs, self.path)
        shape = self._image.shape
        if len(shape) != 5 or shape[0] != 1 or shape[4] != 3:
            raise ModelFileError(
                f"{self.path}: its image is {shape} instead of (1, frames, height, width, 3)"
            )
        self.frames, self.size = shape[1], (shape[2], shape[3])
        self.fps = float(file.metadata.get("fps", DEFAULT_FPS))
        self.labels = checked_labels(
            labels or file.metadata.get("labels"), self._logits.shape[-1], str(model)
        )
        self._runner = interpreter.get_signature_runner()

    def classify(self, frames: Sequence[Picture]) -> NDArray[np.float32]:
        """Return the logits of a clip: its first frames, the last one again if it is short.

        Args:
            frames: uint8 of the model's size, at least one.
        """
        clip = quantized(np.stack(filled(frames, self.frames))[None], self._image)
        logits = self._runner(**{self._image.name: clip})[self._logits.name]
        return dequantized(logits, self._logits).reshape(-1)


def load_model(
    path: Path, labels: Sequence[str] | None = None, threads: int | None = None
) -> StreamModel | ClipModel:
    """Load a stream model, or a base model where no input is an output too.

    Raises:
        ModelFileError, LabelsError: see the two classes.
    """
    file = ModelFile.read(path)
    inputs, outputs = signature_specs(load_interpreter(file, 1, allocate=False), file)
    if inputs.keys() & outputs.keys():
        return StreamModel(path, threads, labels)
    return ClipModel(path, labels, threads)


def _only(specs: Mapping[str, TensorSpec], path: Path) -> TensorSpec:
    if len(specs) != 1:
        raise ModelFileError(f"{path} has no states, and yet {len(specs)} inputs or outputs")
    (spec,) = specs.values()
    return spec
