"""The measures of fidelity, and ``movinet verify`` as a gate."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from movinet_benchmarks.fidelity import MAX_DB, Streams, measure, record
from movinet_convert import flatbuffer, stream_graph
from movinet_convert.parameters import random_weights
from movinet_convert.quantize import VARIANTS, Statistics
from movinet_models.family import lookup
from movinet_runtime.errors import SourceError
from tests.test_cli import movinet


def test_equal_logits_are_as_true_as_can_be() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    found = measure(logits, logits)
    assert found.sqnr_db == MAX_DB
    assert found.agreement == 1
    assert found.decided_agreement == 1
    assert found.kl == pytest.approx(0, abs=1e-12)
    assert found.drift_db == 0


def test_noise_of_known_size() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(2000, 10)).astype(np.float32)
    noise = 0.1 * rng.normal(size=reference.shape)
    noise[1000:] *= 2
    noise[77] *= 10
    found = measure((reference + noise).astype(np.float32), reference)
    assert found.sqnr_db == pytest.approx(16, abs=0.4)
    assert found.drift_db == pytest.approx(6, abs=1.5)
    assert found.worst_frame == 77
    assert 0.7 < found.agreement < 1
    assert found.decided_agreement is not None
    assert found.decided_agreement > found.agreement
    assert found.kl > 0


def test_undecided_frames_do_not_count() -> None:
    reference = np.array([[0.0, 0.1], [0.0, 1.0]], np.float32)
    found = measure(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), reference)
    assert (found.agreement, found.decided, found.decided_agreement) == (0.5, 0.5, 1.0)


def test_the_long_stream_changes_scenes_and_never_resets(stream_model: Path) -> None:
    rng = np.random.default_rng(0)
    clips = [list(rng.integers(0, 256, (n, 64, 64, 3), np.uint8)) for n in (4, 3)]
    streams = Streams(clips, long_frames=30)
    long = list(streams.long())
    assert len(long) == 30
    np.testing.assert_array_equal(long[7], clips[0][3])  # the way back
    recording = record(stream_model, streams)
    assert [len(part) for part in recording.short] == [4, 3]
    np.testing.assert_allclose(recording.short[0], recording.long[:4], atol=1e-6)
    assert not np.allclose(recording.short[1][0], recording.long[4], atol=1e-3)


def test_clips_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        Streams.read([tmp_path / "gone.mp4"], (64, 64), 5, 10)


def test_verify_is_a_gate(tmp_path: Path) -> None:
    spec = lookup("t0-stream").at(64)
    graph = stream_graph.build(spec, random_weights(spec, 6))
    for variant, transform in VARIANTS.items():
        content = flatbuffer.serialize(transform(graph, Statistics()), variant, {})
        (tmp_path / f"{variant}.tflite").write_bytes(content)
    clips = tmp_path / "clip"
    clips.mkdir()
    for i in range(6):
        Image.effect_noise((64, 64), 80).save(clips / f"{i}.png")
    arguments = (
        *(tmp_path / f"{variant}.tflite" for variant in ("float16", "dynamic")),
        *("--against", tmp_path / "float32.tflite", "--clips", clips, "--long-frames", 40),
    )
    plot = tmp_path / "errors.png"
    passed = movinet("verify", *arguments, "--min-sqnr", 5, "--json", "--plot", plot)
    assert passed.returncode == 0, passed.stderr
    half, dynamic = json.loads(passed.stdout)
    assert half["long"]["sqnr_db"] > dynamic["long"]["sqnr_db"] > 5
    assert len(half["error_db"]) == half["long"]["frames"] == 40
    assert Image.open(plot).size[0] > 500

    listed = movinet("verify", *arguments, "--per-layer", 3, "--json")
    _, dynamic = json.loads(listed.stdout)
    layers = {layer["name"]: layer["sqnr_db"] for layer in dynamic["layers"]}
    assert layers["frame"] > 200  # the picture itself
    assert layers["block4_layer0/expansion"] < 60

    failed = movinet("verify", *arguments, "--min-sqnr", 100, "--per-layer", 3)
    assert failed.returncode == 1
    assert "SQNR" in failed.stdout
    assert "block" in failed.stdout
    assert "dynamic.tflite, long streams: SQNR" in failed.stderr
    assert "is below 100" in failed.stderr
