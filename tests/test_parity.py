"""The networks and the exported files compute what the reference implementation does."""

import os
from pathlib import Path

import numpy as np
import pytest

from movinet_convert import clip_graph, flatbuffer, stream_graph
from movinet_convert.network import load_into_network
from movinet_convert.sources import load_weights
from movinet_models.family import lookup
from movinet_runtime import StreamClassifier
from movinet_runtime.engines.interpreter import load_interpreter
from movinet_runtime.model_file import ModelFile
from tests.reference import (
    SEEDED,
    relative_error,
    seeded_frames,
    seeded_logits,
    seeded_weights,
)

REFERENCE = 1e-4  # of the logits' range
SAME = 1e-5

STREAMS = [f"{path.stem.split('_')[0]}-stream" for path in sorted(SEEDED.glob("*_stream.npy"))]
BASES = [f"{path.stem.split('_')[0]}-base" for path in sorted(SEEDED.glob("*_base.npy"))]


@pytest.mark.parametrize("model_id", STREAMS)
def test_stream_network_and_file_match_the_reference(model_id: str, tmp_path: Path) -> None:
    spec = lookup(model_id)
    weights, frames, expected = seeded_weights(spec), seeded_frames(spec), seeded_logits(spec)

    network = load_into_network(spec, weights)
    clip = np.asarray(network.stream(frames[None])[0])[0]
    assert relative_error(clip, expected) < REFERENCE

    states, steps = None, []
    for frame in frames:
        logits, states = network.stream(frame[None, None], states)
        steps.append(np.asarray(logits)[0, 0])
    assert relative_error(np.stack(steps), clip) < SAME

    path = tmp_path / "model.tflite"
    path.write_bytes(flatbuffer.serialize(stream_graph.build(spec, weights), spec.id, {}))
    classifier = StreamClassifier(path)
    found = np.stack([classifier.step(frame).logits for frame in frames])
    assert relative_error(found, expected) < REFERENCE
    assert relative_error(found, clip) < SAME


@pytest.mark.parametrize("model_id", BASES)
def test_base_network_and_file_match_the_reference(model_id: str, tmp_path: Path) -> None:
    spec = lookup(model_id)
    weights, frames, expected = seeded_weights(spec), seeded_frames(spec), seeded_logits(spec)

    network = load_into_network(spec, weights)
    assert relative_error(np.asarray(network(frames[None])), expected) < REFERENCE

    path = tmp_path / "model.tflite"
    graph = clip_graph.build(spec, weights, frames=len(frames))
    path.write_bytes(flatbuffer.serialize(graph, spec.id, {}))
    interpreter = load_interpreter(ModelFile.read(path), threads=2)
    found = interpreter.get_signature_runner()(image=frames[None])["logits"]
    assert relative_error(found, expected) < REFERENCE


@pytest.mark.parametrize(
    ("model_id", "source"),
    [
        ("a0-stream", "a0_stream/ckpt"),
        ("a0-stream", "a0_stream_hub.tar.gz"),
        ("a3-stream", "a3_stream"),
    ],
)
def test_stream_checkpoints_match_their_golden_outputs(
    model_id: str, source: str, shared: Path, tmp_path: Path
) -> None:
    spec = lookup(model_id)
    weights = load_weights(os.fspath(shared / "reference" / source), spec).weights
    golden = np.load(shared / "reference" / model_id.replace("-", "_") / "golden.npz")
    frames = golden["frames"].astype(np.float32) / 255
    network = load_into_network(spec, weights)

    clip, _ = network.stream(frames[None])
    assert relative_error(np.asarray(clip)[0], golden["logits"]) < REFERENCE
    assert relative_error(np.asarray(clip)[0, -1:], golden["clip_logits"]) < REFERENCE

    states = None
    compared = 0
    for t, frame in enumerate(frames):
        _, states = network.stream(frame[None, None], states)
        for key in (k for k in golden.files if k.startswith(f"t{t}/") and "count" not in k):
            value = np.asarray(states[key.rpartition("/")[2]])
            # The reference keeps sums where we keep means.
            value = value.mean((0, 2, 3)) if "/mean/" in key else value * (t + 1)
            assert relative_error(value, golden[key].reshape(value.shape)) < REFERENCE, key
            compared += 1
    assert compared >= 2 * len(list(spec.layers()))

    path = tmp_path / "model.tflite"
    path.write_bytes(flatbuffer.serialize(stream_graph.build(spec, weights), spec.id, {}))
    classifier = StreamClassifier(path)
    found = np.stack([classifier.step(frame).logits for frame in frames])
    assert relative_error(found, golden["logits"]) < REFERENCE


@pytest.mark.parametrize("source", ["a0_base/ckpt", "a0_base_hub.tar.gz"])
def test_base_checkpoints_match_their_golden_outputs(source: str, shared: Path) -> None:
    spec = lookup("a0-base")
    weights = load_weights(os.fspath(shared / "reference" / source), spec).weights
    golden = np.load(shared / "reference" / "a0_base" / "golden.npz")
    frames = golden["frames"].astype(np.float32) / 255
    logits = np.asarray(load_into_network(spec, weights)(frames[None]))[0]
    assert relative_error(logits, golden["logits"]) < REFERENCE
