"""Past frames as states of their own, against buffers that the graph shifts."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from movinet_convert import flatbuffer, stream_graph
from movinet_convert.frames import frames_apart
from movinet_convert.graph import Graph
from movinet_convert.parameters import random_weights
from movinet_convert.quantize import TRANSFORMS, Statistics, needs_ranges
from movinet_convert.quantize.calibration import moving_noise
from movinet_convert.quantize.taps import newest_tap_apart
from movinet_models.family import lookup
from movinet_models.variants import variants_of
from movinet_runtime import StreamClassifier
from movinet_runtime.errors import ModelFileError
from movinet_runtime.inspection import inspect
from movinet_runtime.model_file import ModelFile
from movinet_runtime.preprocess import SCALE
from movinet_runtime.tensors import chains

SPEC = lookup("a0-stream").at(64)
LITE = lookup("a0lite-stream").at(64)
# More than buffers of two and four past frames need to come round together.
FRAMES = list(moving_noise((64, 64), 20))


def joined(model_id: str, variant: str) -> Graph:
    spec = lookup(model_id).at(64)
    graph = stream_graph.build(spec, random_weights(spec, 12))
    ranges = dict.fromkeys(needs_ranges(variant, graph), (-9.0, 9.0))
    return TRANSFORMS[variant](graph, Statistics(ranges=ranges))


def write(graph: Graph, path: Path) -> Path:
    path.write_bytes(flatbuffer.serialize(graph, "test", {}))
    return path


ALL = [(m, v) for m in ("a0-stream", "a0lite-stream") for v in variants_of(lookup(m))]


@pytest.mark.parametrize(("model_id", "variant"), ALL)
def test_logits_are_those_of_buffers(model_id: str, variant: str, tmp_path: Path) -> None:
    graph = joined(model_id, variant)
    buffers, frames = write(graph, tmp_path / "b"), write(frames_apart(graph), tmp_path / "f")
    found = inspect(ModelFile.read(frames))
    assert (found.partitions, found.ops_outside) == (1, {})
    assert found.state_bytes == inspect(ModelFile.read(buffers)).state_bytes
    assert "SLICE" not in found.ops
    models = [StreamClassifier(buffers)]
    models += [StreamClassifier(frames, engine=engine) for engine in ("compiled", "interpreter")]
    for index, frame in enumerate(FRAMES):
        expected, *others = [model.step(frame).logits for model in models]
        for logits in others:
            np.testing.assert_array_equal(logits, expected)
        if index == 7:  # in the middle of a turn, from one engine to the other
            models[1].restore(models[2].state)
            models[2].restore(models[1].state)
        if index == 11:
            for model in models:
                model.reset()


@pytest.mark.parametrize("variant", variants_of(SPEC))
def test_a_client_of_the_published_contract_runs_them(variant: str, tmp_path: Path) -> None:
    """Zeros of each input's shape and dtype at first, then outputs fed back by name."""
    from ai_edge_litert.interpreter import Interpreter

    path = write(frames_apart(joined("a0-stream", variant)), tmp_path / "model.tflite")
    runner = Interpreter(model_path=str(path)).get_signature_runner()
    details = runner.get_input_details()
    states: dict[str, Any] = {
        name: np.zeros(detail["shape"], detail["dtype"])
        for name, detail in details.items()
        if name != "image"
    }
    ours = StreamClassifier(path, engine="interpreter")
    for frame in FRAMES[:8]:
        outputs = runner(image=frame[None, None] * SCALE, **states)
        states = {name: outputs[name] for name in states}
        expected = ours.step(frame).logits
        np.testing.assert_allclose(
            outputs["logits"][0], expected, atol=1e-5 * float(np.ptp(expected))
        )


def test_only_buffers_come_apart() -> None:
    graph = stream_graph.build(SPEC, random_weights(SPEC, 12))
    apart = frames_apart(graph)
    buffered = {name for name in graph.inputs if name.endswith("_stream_buffer")}
    assert set(graph.inputs) - set(apart.inputs) == buffered
    for name in buffered:
        batch, past, *rest = graph.shape(graph.inputs[name])
        parts = [apart.inputs[f"{name}_{i}"] for i in range(past)]
        assert [apart.shape(part) for part in parts] == [(batch, 1, *rest)] * past
        for i, later in enumerate(parts[1:]):
            assert apart.outputs[f"{name}_{i}"] == later
    assert apart.updates_in_place()


def test_half_precision_keeps_time_in_single() -> None:
    graph = frames_apart(joined("a0-stream", "half"))
    formats = {name: graph.tensors[tensor].dtype.name for name, tensor in graph.inputs.items()}
    for name, dtype in formats.items():
        assert dtype == ("float16" if "stream_buffer" in name else "float32"), name
    assert graph.tensors[graph.outputs["logits"]].dtype == np.float32
    for op in graph.ops:
        if op.role == "time":
            assert {graph.tensors[name].dtype.name for name in op.inputs} == {"float32"}
    # Two of the stem's eight channels' pixels at once.
    (stem,) = (op for op in graph.ops if op.outputs == ("stem/pixels",))
    assert graph.shape(stem.inputs[1]) == (16, 3, 5, 3)


@pytest.mark.parametrize(
    ("passed", "sound"),
    [
        ({"a": "b", "b": "c"}, True),
        ({}, True),
        ({"a": "b", "b": "a"}, False),
        ({"a": "c", "b": "c"}, False),
        ({"c": "a", "a": "b", "b": "a"}, False),
    ],
)
def test_states_in_a_circle_are_refused(passed: dict[str, str], sound: bool) -> None:
    if not sound:
        with pytest.raises(ModelFileError, match="in a circle"):
            chains("abc", passed, "file")
        return
    found = chains("abc", passed, "file")
    assert sorted(name for chain in found for name in chain) == ["a", "b", "c"]
    assert math.prod(map(len, found)) == (3 if passed else 1)


@pytest.mark.parametrize("model_id", ["a0-stream", "a0lite-stream"])
def test_five_taps_are_four_and_a_product(model_id: str, tmp_path: Path) -> None:
    """Only where no activation is fused; the sum's order apart, the same logits."""
    spec = lookup(model_id).at(64)
    graph = stream_graph.build(spec, random_weights(spec, 12))
    split = newest_tap_apart(graph)
    for one, fives in ((graph, 3), (split, 3 if model_id == "a0lite-stream" else 0)):
        taps = [one.shape(op.inputs[1])[1] for op in one.ops if op.role == "temporal"]
        assert taps.count(5) == fives
        read = {name for op in one.ops for name in op.inputs}
        assert all(name in read for name, tensor in one.tensors.items() if tensor.data is not None)
    whole, parts = (
        StreamClassifier(write(g, tmp_path / n)) for g, n in ((graph, "w"), (split, "p"))
    )
    for frame in FRAMES:
        expected = whole.step(frame).logits
        error = np.abs(parts.step(frame).logits - expected).max()
        assert error <= 3e-6 * float(np.ptp(expected))
