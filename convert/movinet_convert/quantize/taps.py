"""Temporal convolutions over five frames as four taps of the delegate and a product.

XNNPACK's depthwise kernels have 3, 4, 9 or 25 taps: five run through nine, four of which read
zeros. Here the convolution takes the past frames, which are the stream buffer as it is, and this
frame is multiplied by its own tap and added. 0.14 M of A0's 27.5 M instructions on a Cortex-A72.
"""

from dataclasses import replace

import numpy as np

from movinet_convert.graph import Graph, Op

TAPS = 5


def newest_tap_apart(graph: Graph) -> Graph:
    """Return the float graph with its five-tap temporal convolutions as four taps and a product.

        [ buffer ][ now ] * 5 taps + bias   ->   buffer * 4 taps + bias, + now * tap

    Those with a fused activation, which is one of the sum, stay.
    """
    writers = {op.outputs[0]: op for op in graph.ops}
    frames = {  # the window's CONCATENATION(buffer, now), by the convolution's output
        op.outputs[0]: writers[writers[op.inputs[0]].inputs[0]]
        for op in graph.ops
        if _has_five_taps(graph, op)
    }
    joins = {op.outputs[0]: op for op in frames.values()}
    result = Graph(dict(graph.tensors), [], dict(graph.inputs), dict(graph.outputs))
    for op in graph.ops:
        (output,), source = op.outputs, op.inputs[0]
        if output in joins:
            del result.tensors[output]
        elif op.role == "window" and source in joins:
            del result.tensors[output]
            n, taps, *rest = graph.shape(output)
            past = result.reshape(f"{output}/past", joins[source].inputs[0], (n, taps - 1, *rest))
            result.give_role(past, "window")
        elif output in frames:
            _convolve(result, op, frames[output].inputs[1])
        elif source in frames:  # the frame's shape is given back
            _add(result, op)
        else:
            result.ops.append(op)
    return result.pruned()


def _has_five_taps(graph: Graph, op: Op) -> bool:
    five = op.role == "temporal" and graph.shape(op.inputs[1])[1] == TAPS
    return five and not op.options["activation"]


def _convolve(graph: Graph, op: Op, now: str) -> None:
    window, filters, bias = op.inputs
    (name,) = op.outputs
    taps = np.asarray(graph.tensors[filters].data)
    past = graph.constant(f"{filters}/past", taps[:, :-1])
    newest = graph.constant(f"{filters}/newest", taps[:, -1:, :, None])
    graph.ops.append(replace(op, inputs=(f"{window}/past", past, bias)))
    graph.binary("MUL", f"{name}/newest", now, newest)


def _add(graph: Graph, op: Op) -> None:
    (output,), past = op.outputs, op.inputs[0]
    shape = graph.shape(output)
    newest = f"{past}/newest"
    del graph.tensors[output]
    x, y = (graph.reshape(f"{name}/frame_of_sum", name, shape) for name in (past, newest))
    graph.binary("ADD", output, x, y)
