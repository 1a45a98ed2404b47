"""Several streams in one step, against each of them alone."""

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from movinet_convert import flatbuffer, metadata, stream_graph
from movinet_convert.frames import frames_apart
from movinet_convert.parameters import random_weights
from movinet_convert.quantize import TRANSFORMS, Statistics, needs_ranges
from movinet_convert.quantize.calibration import moving_noise
from movinet_convert.sources import LoadedWeights
from movinet_models.family import lookup
from movinet_runtime import StreamModel, step_together
from movinet_runtime.errors import SourceError
from movinet_runtime.inspection import inspect
from movinet_runtime.model_file import ModelFile

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]
CLIPS = [list(moving_noise((64, 64), 16, seed)) for seed in range(3)]
HORIZON = 6
Make = Callable[..., tuple[StreamModel, StreamModel]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a model of one stream, and the same of three in a step."""

    def made(
        model_id: str = "a0-stream", variant: str = "dynamic", engine: str = "auto"
    ) -> tuple[StreamModel, StreamModel]:
        spec = lookup(model_id).at(64)
        weights = random_weights(spec, 12, 7)
        loaded = LoadedWeights(weights, "random:7", "0" * 64, horizon=HORIZON, licence=None)
        models = []
        for streams in (1, 3):
            graph = stream_graph.build(spec, weights, streams=streams)
            ranges = dict.fromkeys(needs_ranges(variant, graph), (-9.0, 9.0))
            graph = frames_apart(TRANSFORMS[variant](graph, Statistics(ranges=ranges)))
            about = metadata.of_variant(metadata.describe(spec, loaded, None), variant, graph)
            path = tmp_path / f"{streams}.tflite"
            path.write_bytes(flatbuffer.serialize(graph, "test", metadata.buffers(about, graph)))
            models.append(StreamModel(path, engine=engine))
        assert [model.streams for model in models] == [1, 3]
        return models[0], models[1]

    return made


def alone(model: StreamModel, clip: list[np.ndarray]) -> list[np.ndarray]:
    stream = model.stream()
    return [stream.step(frame).logits for frame in clip]


def near(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, atol=1e-5 * float(np.ptp(expected)))


@pytest.mark.parametrize(
    ("model_id", "variant", "engine"),
    [
        ("a0-stream", "float32", "compiled"),
        ("a0-stream", "dynamic", "interpreter"),
        ("a0-stream", "half", "compiled"),
        ("a0-stream", "dynamic-si8", "auto"),
        ("a3-stream", "dynamic", "auto"),  # positional encoding
        ("a0lite-stream", "int8", "auto"),
    ],
)
def test_each_stream_is_what_it_is_alone(
    make: Make, model_id: str, variant: str, engine: str
) -> None:
    """Beyond the horizon, with a stream that pauses, one that goes on alone, and a late one."""
    one, many = make(model_id, variant, engine)
    found = inspect(ModelFile.read(many.path))
    assert (found.partitions, found.ops_outside) == (1, {})
    expected = [alone(one, clip) for clip in CLIPS]
    streams = [many.stream() for _ in range(2)]
    shown = [0, 0, 0]
    for turn in range(16):
        if turn == 3:
            streams.append(many.stream())
        # All together; the first alone; all but the second.
        who = {5: [0], 6: [0, 2]}.get(turn, range(len(streams)))
        frames = {streams[i]: CLIPS[i][shown[i]] for i in who}
        answers = step_together(frames)
        assert list(answers) == list(frames)
        for i in who:
            assert answers[streams[i]].index == shown[i]
            near(answers[streams[i]].logits, expected[i][shown[i]])
            shown[i] += 1
    assert shown == [16, 14, 12]


def test_a_slice_resets_and_moves(make: Make) -> None:
    one, many = make()
    expected = [alone(one, clip) for clip in CLIPS]
    first, second, third = (many.stream() for _ in range(3))
    for t in range(8):
        step_together({first: CLIPS[0][t], second: CLIPS[1][t], third: CLIPS[2][t]})
    first.reset()
    near(first.step(CLIPS[0][0]).logits, expected[0][0])
    # From one slice to another, and to a file of one stream.
    third.restore(second.state)
    single = one.stream()
    single.restore(second.state)
    for stream in (third, single):
        assert stream.step(CLIPS[1][8]).index == 8
    near(second.step(CLIPS[1][8]).logits, expected[1][8])
    near(first.step(CLIPS[0][1]).logits, expected[0][1])


def test_more_streams_than_slices_and_slices_that_come_back(make: Make) -> None:
    one, many = make()
    expected = alone(one, CLIPS[0])
    streams = [many.stream() for _ in range(4)]
    answers = step_together(dict.fromkeys(streams, CLIPS[0][0]))
    for stream in streams:
        near(answers[stream].logits, expected[0])
    assert len(many._groups) == 2
    del streams[1], answers, stream
    gc.collect()
    again = many.stream()
    assert len(many._groups) == 2
    near(again.step(CLIPS[0][0]).logits, expected[0])


def test_a_stream_at_its_horizon_leaves_no_trace_when_it_goes(make: Make) -> None:
    one, many = make()
    expected = alone(one, CLIPS[1])
    first, second = many.stream(), many.stream()
    for t in range(HORIZON + 1):  # the first is held from here on, the second is younger
        frames = {first: CLIPS[0][t]} | ({second: CLIPS[1][t - 4]} if t >= 4 else {})
        step_together(frames)
    del first, frames
    gc.collect()
    for t in range(HORIZON - 3, HORIZON + 3):
        near(second.step(CLIPS[1][t]).logits, expected[t])


def test_a_frame_that_is_refused_changes_nothing(make: Make) -> None:
    _, many = make()
    first, second = many.stream(), many.stream()
    before = first.state
    bad = np.full((64, 64, 3), np.nan, np.float32)
    with pytest.raises(SourceError, match="NaN"):
        step_together({first: CLIPS[0][0], second: bad})
    for name, value in first.state.items():
        np.testing.assert_array_equal(value, before[name])
    assert first.step(CLIPS[0][0]).index == 0


def test_the_command_exports_and_proves_them(tmp_path: Path) -> None:
    command = [*MOVINET, "export", "t0-stream", "-w", "random", "--resolution", "32"]
    command += ["-q", "dynamic", "--calibrate", "none", "--long-frames", "4", "--json"]
    done = subprocess.run(
        [*command, "--streams", "2", "--states", "buffers", "-o", str(tmp_path / "two.tflite")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    model = StreamModel(tmp_path / "two.tflite")
    assert (model.streams, model.metadata["streams"]) == (2, 2)
    assert json.loads(done.stdout)[0]["variant"] == "dynamic"
    shapes = {name: spec.shape for name, spec in model.engine.states.items()}
    assert shapes["state_block1_layer0_stream_buffer"][:2] == (2, 2)
    base = [*MOVINET, "export", "t0-base", "-w", "random", "--streams", "2", "-o", "x.tflite"]
    refused = subprocess.run(base, capture_output=True, text=True, cwd=tmp_path)
    assert refused.returncode == 2
    assert "--streams" in refused.stderr
