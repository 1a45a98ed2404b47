"""What is inside a model file: states, operators, and how many of them a delegate takes."""

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from movinet_runtime.description import Description
from movinet_runtime.engines import DAMAGE
from movinet_runtime.engines.interpreter import load_interpreter, signature_specs
from movinet_runtime.errors import ModelFileError
from movinet_runtime.model_file import ModelFile
from movinet_runtime.tensors import TensorSpec, pair


@dataclass(frozen=True)
class Inspection:
    """Facts about a model that do not depend on the machine's speed."""

    file_bytes: int
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    states: list[TensorSpec]
    ops: Mapping[str, int]
    partitions: int
    ops_outside: Mapping[str, int]
    metadata: Mapping[str, Any]
    description: Description | None

    @property
    def state_bytes(self) -> int:
        """Memory of all states together."""
        return sum(int(np.prod(s.shape)) * s.dtype.itemsize for s in self.states)

    def as_json(self) -> dict[str, Any]:
        """Return plain values, states by name."""
        return {
            "file_bytes": self.file_bytes,
            "state_bytes": self.state_bytes,
            "inputs": [_tensor(spec) for spec in self.inputs],
            "outputs": [_tensor(spec) for spec in self.outputs],
            "states": [spec.name for spec in self.states],
            "ops": dict(self.ops),
            "delegate_partitions": self.partitions,
            "ops_outside_delegate": dict(self.ops_outside),
            "metadata": dict(self.metadata),
        }


def inspect(model: ModelFile) -> Inspection:
    """Load a model and describe it; also one that does not stream (no states then).

    Raises:
        ModelFileError: damaged.
    """
    try:
        return _inspected(model)
    except DAMAGE as error:  # the verifier knows the structure, not what indices mean
        reason = f"{type(error).__name__} {error}".strip()
        raise ModelFileError(f"{model.path} cannot be inspected: {reason}") from error


def _inspected(model: ModelFile) -> Inspection:
    interpreter = load_interpreter(model, threads=1)
    inputs, outputs = signature_specs(interpreter, model)
    states: dict[str, TensorSpec] = {}
    with contextlib.suppress(ModelFileError):
        _, _, states = pair(inputs, outputs, str(model.path))
    details = interpreter._get_ops_details()
    nodes = [op for op in details if op["op_name"] != "DELEGATE"]
    delegates = [op for op in details if op["op_name"] == "DELEGATE"]
    outside = _outside(nodes, delegates)
    return Inspection(
        file_bytes=len(model.content),
        inputs=list(inputs.values()),
        outputs=list(outputs.values()),
        states=list(states.values()),
        ops=Counter(op["op_name"] for op in nodes),
        partitions=len(delegates),
        ops_outside=Counter(op["op_name"] for op in outside),
        metadata=model.metadata,
        description=model.description,
    )


def _outside(nodes: list[dict[str, Any]], delegates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the nodes that no delegate replaced.

    The interpreter lists replaced nodes too. A partition is what lies on the ways
    back from its outputs to its inputs.
    """
    producers = {int(t): i for i, node in enumerate(nodes) for t in node["outputs"]}
    taken: set[int] = set()
    for delegate in delegates:
        limit = {int(t) for t in delegate["inputs"]}
        pending = [int(t) for t in delegate["outputs"]]
        while pending:
            tensor = pending.pop()
            node = producers.get(tensor)
            if tensor in limit or node is None or node in taken:
                continue
            taken.add(node)
            pending += [int(t) for t in nodes[node]["inputs"]]
    return [node for i, node in enumerate(nodes) if i not in taken]


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": spec.name,
        "shape": list(spec.shape),
        "dtype": spec.dtype.name,
    }
    if spec.scale:
        described |= {"scale": spec.scale, "zero_point": spec.zero_point}
    return described
