"""Streams that share a model, streams that never end, and states in files."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from movinet_convert import flatbuffer, stream_graph
from movinet_convert.parameters import random_weights
from movinet_convert.quantize.calibration import moving_noise
from movinet_models.family import lookup
from movinet_runtime import StreamClassifier, StreamModel
from movinet_runtime.engines.compiled import CompiledEngine
from movinet_runtime.errors import StateError, UsageError

ENGINES = ["compiled", "interpreter"]


def logits(classifier: StreamClassifier, frames: list[np.ndarray]) -> np.ndarray:
    return np.stack([classifier.step(frame).logits for frame in frames])


@pytest.mark.parametrize("engine", ENGINES)
def test_streams_of_one_model_do_not_share_their_state(stream_model: Path, engine: str) -> None:
    clips = [list(moving_noise((64, 64), 12, seed)) for seed in range(3)]
    alone = [logits(StreamClassifier(stream_model, engine=engine), clip) for clip in clips]
    model = StreamModel(stream_model, engine=engine)

    streams = [model.stream() for _ in clips]  # a frame of each by turns
    by_turns = np.array(
        [
            [stream.step(clip[i]).logits for stream, clip in zip(streams, clips, strict=True)]
            for i in range(12)
        ]
    )
    np.testing.assert_array_equal(by_turns.transpose(1, 0, 2), alone)

    with ThreadPoolExecutor(len(clips)) as pool:
        at_once = list(pool.map(lambda clip: logits(model.stream(), clip), clips))
    np.testing.assert_array_equal(at_once, alone)


def test_models_may_be_opened_at_once(stream_model: Path) -> None:
    """In a process that has opened none before, whose environment several would make."""
    code = """if True:
        import sys, threading
        from concurrent.futures import ThreadPoolExecutor
        from movinet_runtime import StreamModel
        from ai_edge_litert.environment import Environment
        begin, make = threading.Barrier(4), Environment.create
        def slow():
            made = make()
            threading.Event().wait(0.2)
            return made
        Environment.create = slow
        def opened(path):
            begin.wait()
            return StreamModel(path, 1, engine="compiled")
        with ThreadPoolExecutor(4) as pool:
            print(len(list(pool.map(opened, sys.argv[1:] * 4))))
    """
    command = [sys.executable, "-c", code, str(stream_model)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == "4\n", done.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_a_horizon_forgets(stream_model: Path, engine: str) -> None:
    """After a long past, the state of a bounded stream soon is that of the new scene."""
    old, new = (list(moving_noise((64, 64), 8, seed)) for seed in (0, 1))
    name = "state_head_pool_buffer"
    model = StreamModel(stream_model, engine=engine)
    far = {}
    for horizon in (0, 8):
        fresh, lived = model.stream(horizon), model.stream(horizon)
        for _ in range(50):
            logits(lived, old)
        for _ in range(9):
            logits(fresh, new)
            logits(lived, new)
        far[horizon] = float(np.abs(fresh.state[name] - lived.state[name]).mean())
        count = float(lived.state["state_frame_count"].squeeze())
        assert count == (horizon or 472)
    assert far[8] < 0.1 * far[0]


def test_within_the_horizon_nothing_changes(stream_model: Path) -> None:
    frames = list(moving_noise((64, 64), 6))
    unbounded = logits(StreamClassifier(stream_model, horizon=0), frames)
    np.testing.assert_array_equal(
        logits(StreamClassifier(stream_model, horizon=6), frames), unbounded
    )
    assert StreamClassifier(stream_model).horizon == 50  # what the file says
    bounded = logits(StreamClassifier(stream_model, horizon=5), frames)
    assert not np.array_equal(bounded[5], unbounded[5])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_reset_stream_counts_to_its_horizon_again(stream_model: Path, engine: str) -> None:
    frames = list(moving_noise((64, 64), 8))
    classifier = StreamClassifier(stream_model, horizon=3, engine=engine)
    once = logits(classifier, frames)
    classifier.reset()
    np.testing.assert_array_equal(logits(classifier, frames), once)
    unbounded = StreamClassifier(stream_model, horizon=0, engine=engine)
    unbounded.restore(classifier.state)
    assert not np.array_equal(logits(unbounded, frames), logits(classifier, frames))


def test_states_that_change_places_keep_to_the_horizon(stream_model: Path) -> None:
    """Files of other exporters do not say that states may be updated in place."""
    frames = list(moving_noise((64, 64), 8))
    model = StreamModel(stream_model, engine="compiled")
    assert isinstance(model.engine, CompiledEngine)
    in_place = logits(model.stream(horizon=3), frames)
    model.engine.in_place = False
    np.testing.assert_array_equal(logits(model.stream(horizon=3), frames), in_place)


def test_a_horizon_needs_a_frame_count(shared: Path) -> None:
    published = shared / "peers" / "movinet_a0_stream_float32.tflite"
    assert StreamClassifier(published).horizon == 0
    with pytest.raises(UsageError, match="no common frame count"):
        StreamClassifier(published, horizon=20)


def test_a_state_file_continues_the_stream_and_only_with_its_model(
    stream_model: Path, tmp_path: Path
) -> None:
    frames = list(moving_noise((64, 64), 8))
    whole = logits(StreamClassifier(stream_model, horizon=4), frames)
    first = StreamClassifier(stream_model, horizon=4)
    logits(first, frames[:5])
    path = tmp_path / "state.npz"
    first.save_state(path)
    second = StreamClassifier(stream_model, horizon=4, engine="interpreter")
    second.load_state(path)
    assert second.step(frames[5]).index == 5
    np.testing.assert_array_equal(logits(second, frames[6:]), whole[6:])

    spec = lookup("a0-stream").at(64)
    other = tmp_path / "other.tflite"
    graph = stream_graph.build(spec, random_weights(spec, 12, seed=1))
    other.write_bytes(flatbuffer.serialize(graph, "other", {}))
    stranger = StreamClassifier(other)
    with pytest.raises(StateError, match="another model file"):
        stranger.load_state(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StateError, match="no state that can be read"):
        stranger.load_state(path)
    with pytest.raises(StateError, match="no state that can be read"):
        stranger.load_state(tmp_path / "missing.npz")


STEPS = """
import numpy as np
from movinet_benchmarks.process.memory import peak_bytes, resident_bytes
from movinet_runtime import StreamClassifier
classifier = StreamClassifier({model!r})
frame = np.zeros((64, 64, 3), np.uint8)
kept = []
def after(steps):
    for _ in range(steps):
        classifier.step(frame)
        kept.append(bytes([len(kept) % 256]) * {leak})
    return np.array([resident_bytes(), peak_bytes()])
before = after(500)
print(before.min(), (after(2000) - before).max())
"""


def test_memory_stays_flat(stream_model: Path) -> None:
    """2,000 frames after a warm-up take no memory that 500 did not; a leak would be seen."""

    def growth(leak: int) -> int:
        code = STEPS.format(model=str(stream_model), leak=leak)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        resident, grown = map(int, done.stdout.split())
        assert resident > 10e6
        return grown

    ballast = np.ones(400 << 20, np.uint8)  # ru_maxrss of a child began with its parent's peak
    assert growth(0) <= 2 << 20
    assert growth(4096) > 6 << 20
    assert ballast.all()
