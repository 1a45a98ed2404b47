"""Stream buffers in int8, with ranges that follow the stream.

A fixed range for a state has to be guessed from calibration clips, and a stream that is
livelier than they were saturates it for as long as the buffer lasts. Here each frame's codes
carry their own range, one float for each channel, in a small state beside the buffer:

    range_t = max(|x_t|) over height and width          [1, 1, 1, c]
    codes_t = round(127 x_t / range_t)                  int8 [1, 1, h, w, c]
    window  = codes / 127 * ranges, as float, into the temporal convolution

Nothing is calibrated, nothing saturates, and all zeros still mean "no frames yet".
"""

from dataclasses import replace

import numpy as np

from movinet_convert.graph import Graph, Op, Quantization

CODES = Quantization(np.array([1 / 127], np.float32), np.zeros(1, np.int64))
# Hard swish is never below -0.375, so that the maximum bounds what is negative too; and a
# channel that is silent in a frame has a range to divide by.
MIN_RANGE = 0.375


def int8_states(graph: Graph) -> Graph:
    """Keep the inputs of temporal convolutions in int8 between frames.

    The buffer's tensors change their type and keep their shapes; for each there is a new
    state ``state_*_stream_range`` float32 [1, k-1, 1, c]. The rest of the graph stays as
    it is, and so does its one delegate partition.
    """
    result = Graph(dict(graph.tensors), [], dict(graph.inputs), dict(graph.outputs))
    writers = {op.outputs[0]: op for op in graph.ops}
    for op in graph.ops:
        (output,) = op.outputs
        match op.role:
            case "frame":  # codes are reshaped instead: the range is one of height and width
                del result.tensors[output]
            case "buffered":
                _quantize_frame(result, replace(writers[op.inputs[0]], outputs=op.outputs))
            case "window":
                _as_codes(result, output)
                result.ops.append(op)
                unit = result.unary("DEQUANTIZE", f"{output}/unit", output)
                ranges = f"{output.removesuffix('window')}ranges"
                result.binary("MUL", f"{output}/float", unit, ranges)
            case "temporal":
                window, *constants = op.inputs
                result.ops.append(replace(op, inputs=(f"{window}/float", *constants)))
            case _:
                result.ops.append(op)
    return result


def _quantize_frame(graph: Graph, now: Op) -> None:
    """Put a frame into codes before it joins the window, and its range beside it."""
    (output,) = now.outputs
    prefix = output.removesuffix("now")
    layer = prefix.split("/")[0]
    feature, shape = now.inputs
    x = graph.unary("HARD_SWISH", f"{prefix}active", feature)
    least = graph.constant("range/least", np.full((1, 1, 1, 1), MIN_RANGE, np.float32))
    most = graph.reduce_max(f"{prefix}max", x)
    span = graph.binary("MAXIMUM", f"{prefix}range", most, least)
    inverse = graph.binary("DIV", f"{prefix}inverse", "one", span)
    unit = graph.binary("MUL", f"{prefix}unit", x, inverse)
    codes = graph.unary("QUANTIZE", f"{prefix}codes", unit)
    graph.ops.append(replace(now, inputs=(codes, shape)))
    buffer = f"state_{layer}_stream_buffer"
    for name in (codes, output, f"input/{buffer}", buffer, f"{prefix}frames", f"{prefix}kept"):
        _as_codes(graph, name)

    state = f"state_{layer}_stream_range"
    streams, frames = graph.shape(buffer)[:2]
    past = graph.input(state, (streams, frames, 1, graph.shape(x)[3]))
    graph.concat(f"{prefix}ranges", [past, span], axis=1)
    kept = graph.slice(f"{prefix}kept_ranges", past, axis=1, start=1, size=frames - 1)
    graph.output(state, graph.concat(state, [kept, span], axis=1))


def _as_codes(graph: Graph, name: str) -> None:
    tensor = graph.tensors[name]
    graph.tensors[name] = replace(tensor, dtype=np.dtype(np.int8), quantization=CODES)
