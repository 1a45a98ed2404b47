"""Past frames as states of their own, which nothing in the graph moves.

    buffers   state_x_stream_buffer [1, K, ...]: shifted by a frame, with the newest at its end
    frames    state_x_stream_buffer_0 to _K-1 [1, 1, ...], the oldest first: what comes out of
              each is the one after it, and only the newest is written

A state that is handed on is one tensor with two names in the signature: the input of the later
one, and the output of the earlier one. Clients that feed outputs back by name run both forms;
a runtime whose buffers change places copies nothing in the second. The window of a temporal
convolution is one CONCATENATION, where buffers are copied three times in a step.
"""

from dataclasses import dataclass, replace

from movinet_convert.graph import Graph, Op


@dataclass(frozen=True)
class _Buffer:
    """The input of a buffer, what shifts it (``kept``, ``out``), and the frame that joins it."""

    source: str
    kept: str
    out: str
    newest: str


def frames_apart(graph: Graph) -> Graph:
    """Return the graph with a state for each past frame; what is no buffer stays."""
    buffers = {name: found for name in graph.inputs if (found := _buffer(graph, name))}
    dropped = {name for found in buffers.values() for name in (found.source, found.kept, found.out)}
    result = Graph({n: t for n, t in graph.tensors.items() if n not in dropped})
    parts: dict[str, list[str]] = {}
    for name, tensor in graph.inputs.items():
        if name not in buffers:
            result.inputs[name] = tensor
            continue
        whole = graph.tensors[tensor]
        batch, count, *rest = whole.shape
        for i in range(count):
            frame = f"{tensor}_{i}"
            result.tensors[frame] = replace(whole, name=frame, shape=(batch, 1, *rest))
            result.inputs[f"{name}_{i}"] = frame
        parts[tensor] = [f"{tensor}_{i}" for i in range(count)]
    for op in graph.ops:
        if op.kind == "RESHAPE" and op.inputs[0] in parts:  # past frames alone are the window
            joined = result.concat(f"{op.outputs[0]}/frames", parts[op.inputs[0]], axis=1)
            whole = graph.tensors[op.inputs[0]]
            result.tensors[joined] = replace(whole, name=joined)
            result.ops.append(replace(op, inputs=(joined, *op.inputs[1:])))
        elif op.outputs[0] not in dropped:
            inputs = [part for name in op.inputs for part in parts.get(name, [name])]
            result.ops.append(replace(op, inputs=tuple(inputs)))
    for name, tensor in graph.outputs.items():
        if name in buffers:
            frames = parts[buffers[name].source]
            after = [*frames[1:], buffers[name].newest]
            result.outputs |= {f"{name}_{i}": later for i, later in enumerate(after)}
        else:
            result.outputs[name] = tensor
    return result.pruned()  # of the shifts' own constants


def _buffer(graph: Graph, name: str) -> _Buffer | None:
    """Find what shifts a state: CONCATENATION(SLICE(state from 1 on), newest)."""
    source, out = graph.inputs[name], graph.outputs.get(name)
    join = _writer(graph, out)
    if out is None or join is None or join.kind != "CONCATENATION" or len(join.inputs) != 2:
        return None
    kept, newest = join.inputs
    shift = _writer(graph, kept)
    if shift is None or shift.kind != "SLICE" or shift.inputs[0] != source:
        return None
    return _Buffer(source, kept, out, newest)


def _writer(graph: Graph, tensor: str | None) -> Op | None:
    return next((op for op in graph.ops if tensor in op.outputs), None)
