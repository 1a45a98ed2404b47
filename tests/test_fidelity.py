"""The measures of fidelity, and ``movinet verify`` as a gate."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from movinet_benchmarks.cli import _clips_in, _failures
from movinet_benchmarks.fidelity import MAX_DB, Recording, Streams, compare, measures_of, record
from movinet_convert import flatbuffer, stream_graph
from movinet_convert.parameters import random_weights
from movinet_convert.quantize import TRANSFORMS, Statistics
from movinet_models.family import lookup
from movinet_models.variants import variants_of
from movinet_runtime.errors import ModelFileError, SourceError
from tests.test_cli import movinet


def test_equal_logits_are_as_true_as_can_be() -> None:
    logits = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    found = measures_of(logits, logits)
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
    found = measures_of((reference + noise).astype(np.float32), reference)
    assert found.sqnr_db == pytest.approx(16, abs=0.4)
    assert found.drift_db == pytest.approx(6, abs=1.5)
    assert found.worst_frame == 77
    assert 0.7 < found.agreement < 1
    assert found.decided_agreement is not None
    assert found.decided_agreement > found.agreement
    assert found.kl is not None
    assert found.kl > 0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_as_untrue_as_can_be(value: float) -> None:
    """NaN was neither below a gate's limit nor equal to the best label by more than chance."""
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(20, 5)).astype(np.float32)
    broken = reference.copy()
    broken[7, reference[7].argmax()] = value
    found = measures_of(broken, reference)
    assert found.sqnr_db == found.worst_db == -MAX_DB
    assert found.worst_frame == 7
    assert found.agreement == pytest.approx(0.95)
    assert found.kl is None
    bad, good = (Recording([logits], logits, []) for logits in (broken, reference))
    fidelity = compare(Path("x"), bad, good)
    json.dumps(fidelity.as_json(), allow_nan=False)
    assert len(_failures(fidelity, -1000.0, 1.0)) == 2  # agreement, in both streams
    assert len(_failures(fidelity, -100.0, 0.0)) == 2
    assert len(_failures(fidelity, float("nan"), float("nan"))) == 4
    with pytest.raises(ModelFileError, match="not all numbers"):
        compare(Path("x"), good, bad)


def test_undecided_frames_do_not_count() -> None:
    reference = np.array([[0.0, 0.1], [0.0, 1.0]], np.float32)
    found = measures_of(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), reference)
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
    for variant in variants_of(spec):
        content = flatbuffer.serialize(TRANSFORMS[variant](graph, Statistics()), variant, {})
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
    assert layers["frame"] == MAX_DB  # the picture itself
    assert layers["block4_layer0/expansion"] < 60

    failed = movinet("verify", *arguments, "--min-sqnr", 100, "--per-layer", 3)
    assert failed.returncode == 1
    assert "SQNR" in failed.stdout
    assert "block" in failed.stdout
    assert "dynamic.tflite, long streams: SQNR" in failed.stderr
    assert "is below 100" in failed.stderr


def test_a_model_that_answers_nan_fails_the_gate(stream_model: Path, tmp_path: Path) -> None:
    spec = lookup("a0-stream").at(64)
    weights = random_weights(spec, 12)
    weights["classifier/bias"] = np.full_like(weights["classifier/bias"], np.nan)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(flatbuffer.serialize(stream_graph.build(spec, weights), "broken", {}))
    for i in range(3):
        Image.effect_noise((64, 64), 80).save(tmp_path / f"{i}.png")
    arguments = ("--against", stream_model, "--clips", tmp_path, "--long-frames", 4, "--json")
    for gate in ("--min-sqnr", "--min-agreement"):
        done = movinet("verify", broken, *arguments, gate, 0.0 if gate == "--min-sqnr" else 0.01)
        assert done.returncode == 1, done.stderr
        (row,) = json.loads(done.stdout, parse_constant=lambda word: pytest.fail(word))
        assert (row["long"]["sqnr_db"], row["long"]["agreement"]) == (-MAX_DB, 0)
    done = movinet("verify", stream_model, "--against", broken, *arguments[2:])
    assert done.returncode == 2
    assert "the logits of the float32 file are not all numbers" in done.stderr


def test_a_folder_of_videos_is_its_clips(tmp_path: Path) -> None:
    assert _clips_in(tmp_path) == [tmp_path]  # of images, or nothing that is
    for name in ("b.mp4", "a.GIF", "c.txt", "d.png"):
        (tmp_path / name).touch()
    assert [one.name for one in _clips_in(tmp_path)] == ["a.GIF", "b.mp4"]
    assert _clips_in(tmp_path / "b.mp4") == [tmp_path / "b.mp4"]
