"""The stream classifier: state as a value, the published contract, wrong files."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from movinet_runtime import Frame, Prediction, StreamClassifier, read_labels
from movinet_runtime.engines import compiled_runs_here
from movinet_runtime.engines.interpreter import InterpreterEngine
from movinet_runtime.errors import (
    LabelsError,
    ModelFileError,
    SourceError,
    StateError,
    UsageError,
)
from movinet_runtime.model_file import ModelFile
from movinet_runtime.tensors import TensorSpec, pair


def logits(classifier: StreamClassifier, frames: list[Frame]) -> np.ndarray:
    return np.stack([classifier.step(frame.image).logits for frame in frames])


def test_reset_starts_a_stream_anew(stream_model: Path, noise_frames: list[Frame]) -> None:
    classifier = StreamClassifier(stream_model)
    first = logits(classifier, noise_frames)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(logits(classifier, noise_frames), first)
    classifier.reset()
    np.testing.assert_array_equal(logits(classifier, noise_frames), first)


def test_state_can_be_moved_to_another_classifier(
    stream_model: Path, noise_frames: list[Frame]
) -> None:
    one, other = StreamClassifier(stream_model), StreamClassifier(stream_model)
    logits(one, noise_frames[:3])
    state = one.state
    rest = logits(one, noise_frames[3:])
    other.restore(state)
    np.testing.assert_array_equal(logits(other, noise_frames[3:]), rest)
    # The copy is a value: running on does not change it.
    other.restore(state)
    np.testing.assert_array_equal(logits(other, noise_frames[3:]), rest)


def test_the_state_carries_the_past(stream_model: Path, noise_frames: list[Frame]) -> None:
    classifier = StreamClassifier(stream_model)
    logits(classifier, noise_frames[:5])
    carried = classifier.step(noise_frames[5].image).logits
    classifier.reset()
    alone = classifier.step(noise_frames[5].image).logits
    assert np.abs(carried - alone).max() > 0.01 * np.ptp(carried)


def test_a_foreign_state_is_refused_and_the_present_one_kept(
    stream_model: Path, noise_frames: list[Frame]
) -> None:
    classifier = StreamClassifier(stream_model)
    logits(classifier, noise_frames[:2])
    before = classifier.state
    state: dict[str, Any] = classifier.state
    name = next(iter(state))
    for broken in (
        {k: v for k, v in state.items() if k != name},
        state | {"state_of_another": np.zeros(3)},
        state | {name: state[name].astype(np.float64)},
        state | {name: np.zeros((7,), np.float32)},
    ):
        with pytest.raises(StateError):
            classifier.restore(broken)
    for key, value in classifier.state.items():
        np.testing.assert_array_equal(value, before[key])


def test_nan_is_refused_and_the_state_kept(stream_model: Path, noise_frames: list[Frame]) -> None:
    classifier, untroubled = StreamClassifier(stream_model), StreamClassifier(stream_model)
    logits(classifier, noise_frames[:2])
    logits(untroubled, noise_frames[:2])
    frame = np.zeros((64, 64, 3), np.float32)
    for bad in (np.nan, np.inf, -np.inf):
        frame[3, 4, 1] = bad
        with pytest.raises(SourceError, match="NaN or infinite"):
            classifier.step(frame)
    np.testing.assert_array_equal(
        logits(classifier, noise_frames[2:]), logits(untroubled, noise_frames[2:])
    )


def test_float_and_uint8_frames_agree(stream_model: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    one, other = StreamClassifier(stream_model), StreamClassifier(stream_model)
    np.testing.assert_allclose(
        one.step(frame).logits,
        other.step(frame.astype(np.float32) / 255).logits,
        rtol=0,
        atol=1e-4,
    )
    with pytest.raises(SourceError, match="a float frame must be"):
        one.step(np.zeros((63, 64, 3), np.float32))


def test_a_client_of_the_published_contract_works(
    stream_model: Path, noise_frames: list[Frame]
) -> None:
    """Zero-filled states by shape and dtype, outputs fed back by name, image in [0, 1]."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(stream_model)).get_signature_runner()
    details = runner.get_input_details()
    assert details["image"]["shape"].tolist() == [1, 1, 64, 64, 3]
    states = {n: np.zeros(d["shape"], d["dtype"]) for n, d in details.items() if n != "image"}
    classifier = StreamClassifier(stream_model)
    for frame in noise_frames:
        picture = np.ascontiguousarray(frame.image[:48, :48]).repeat(2, 0).repeat(2, 1)[:64, :64]
        outputs = runner(image=(picture / np.float32(255))[None, None], **states)
        found = outputs.pop("logits")
        states = outputs
        assert found.shape == (1, 12)
        expected = classifier.step(picture).logits
        np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_labels_come_from_the_file(stream_model: Path, noise_frames: list[Frame]) -> None:
    classifier = StreamClassifier(stream_model)
    prediction = classifier.step(noise_frames[0].image, time=0.4)
    assert prediction.time == 0.4
    assert prediction.probabilities.sum() == pytest.approx(1.0)
    (label, probability), second = prediction.top(2)
    assert label == f"action {prediction.logits.argmax()}"
    assert probability == pytest.approx(prediction.probabilities.max())
    assert probability >= second[1]
    with pytest.raises(LabelsError, match="3 labels for 12 logits"):
        StreamClassifier(stream_model, labels=["a", "b", "c"])


def test_softmax_of_large_logits() -> None:
    prediction = Prediction(0, np.array([1000.0, 999.0, -1000.0], np.float32), "abc")
    label, probability = prediction.top(9)[0]
    assert (label, round(probability, 3)) == ("a", 0.731)


def test_labels_file(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\ufeffa: ö\r\n\r\n 日本 \n", "utf-8")
    assert read_labels(path) == ["a: ö", "日本"]
    path.write_text("\n")
    with pytest.raises(LabelsError, match="no labels"):
        read_labels(path)
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(LabelsError, match="not UTF-8"):
        read_labels(path)
    with pytest.raises(LabelsError, match="No such file"):
        read_labels(tmp_path / "gone.txt")


def test_files_that_are_no_stream_models(tmp_path: Path, stream_model: Path) -> None:
    content = stream_model.read_bytes()
    for name, data, message in (
        ("empty", b"", "no TFLite model"),
        ("text", b"hello world, no model", "no TFLite model"),
        ("cut", content[: len(content) // 2], "cannot be loaded|damaged"),
        ("head", content[:64], "cannot be loaded|damaged"),
    ):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(data)
        with pytest.raises(ModelFileError, match=message) as caught:
            StreamClassifier(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelFileError, match="No such file"):
        StreamClassifier(tmp_path / "gone.tflite")
    with pytest.raises(ModelFileError, match="directory"):
        StreamClassifier(tmp_path)


def test_states_are_paired_by_name() -> None:
    image = TensorSpec("image", (1, 1, 8, 8, 3), np.dtype("float32"))
    result = TensorSpec("logits", (1, 4), np.dtype("float32"))
    state = TensorSpec("state_a", (1, 2), np.dtype("int8"), 0.5, 3)
    moved = TensorSpec("state_a", (1, 2), np.dtype("int8"), 0.5, 4)
    _, _, states = pair(
        {"image": image, "state_a": state}, {"logits": result, "state_a": state}, "m"
    )
    assert list(states) == ["state_a"]
    assert (states["state_a"].zeros() == 3).all()
    with pytest.raises(ModelFileError, match="'state_a' differs"):
        pair({"image": image, "state_a": state}, {"logits": result, "state_a": moved}, "m")
    with pytest.raises(ModelFileError, match="no stream model"):
        pair({"image": image}, {"logits": result}, "m")
    lonely = TensorSpec("state_b", (1, 2), np.dtype("int8"))
    with pytest.raises(ModelFileError, match="no partner for the state state_b"):
        pair(
            {"image": image, "state_a": state, "state_b": lonely},
            {"logits": result, "state_a": state},
            "m",
        )


PI4 = "processor : 0\nFeatures : fp asimd evtstrm crc32 cpuid\n"
PI5 = "processor : 0\nFeatures : fp asimd evtstrm aes crc32 atomics fphp asimdhp asimddp\n"


@pytest.mark.parametrize(
    ("machine", "cpu", "able"),
    [
        ("x86_64", "", True),
        ("aarch64", PI4, False),
        ("aarch64", PI5, True),
        ("aarch64", PI5 + PI4, False),
        ("aarch64", "", False),
        ("armv7l", "Features : half thumb neon\n", False),
    ],
)
def test_the_compiled_engine_only_where_it_survives(machine: str, cpu: str, able: bool) -> None:
    assert compiled_runs_here(machine, cpu) is able


def test_engines_agree_and_states_move_between_them(
    stream_model: Path, noise_frames: list[Frame]
) -> None:
    compiled = StreamClassifier(stream_model, engine="compiled")
    interpreter = StreamClassifier(stream_model, engine="interpreter")
    assert compiled.metadata["in_place"] is True
    np.testing.assert_array_equal(logits(compiled, noise_frames), logits(interpreter, noise_frames))
    for name, value in compiled.state.items():
        np.testing.assert_array_equal(value, interpreter.state[name], err_msg=name)
    for one, other in ((compiled, interpreter), (interpreter, compiled)):
        one.step(noise_frames[0].image)
        other.restore(one.state)
        np.testing.assert_array_equal(logits(one, noise_frames), logits(other, noise_frames))
    with pytest.raises(UsageError, match="no engine 'gpu'"):
        StreamClassifier(stream_model, engine="gpu")


def test_files_that_do_not_promise_in_place_swap_buffers(
    shared: Path, noise_frames: list[Frame]
) -> None:
    path = shared / "peers" / "movinet_a0_stream_float32.tflite"
    compiled = StreamClassifier(path, engine="compiled")
    interpreter = StreamClassifier(path, engine="interpreter")
    np.testing.assert_array_equal(logits(compiled, noise_frames), logits(interpreter, noise_frames))


def test_memory_does_not_move(stream_model: Path) -> None:
    """The engine looks addresses up once; they must be those of the interpreter's tensors."""
    engine = InterpreterEngine(ModelFile.read(stream_model))
    frame = np.random.default_rng(0).random((64, 64, 3), np.float32)
    for _ in range(3):
        engine.run(frame)
    for detail in engine._interpreter.get_output_details():
        seen = engine._interpreter.get_tensor(detail["index"])
        known = [t for _, t in engine._pairs.values() if t.shape == seen.shape]
        assert any(np.array_equal(seen, t) for t in [*known, engine._logits])


@pytest.mark.parametrize("variant", ["float32", "float16", "dynamic", "int8"])
def test_published_layouts_run(shared: Path, variant: str, noise_frames: list[Frame]) -> None:
    classifier = StreamClassifier(shared / "peers" / f"movinet_a0_stream_{variant}.tflite")
    first = logits(classifier, noise_frames)
    assert np.isfinite(first).all()
    assert int(classifier.state["state_head_pool_frame_count"][0]) == len(noise_frames)
    classifier.reset()
    np.testing.assert_array_equal(logits(classifier, noise_frames), first)


LOAD = """
import sys
import numpy as np
from movinet_runtime import StreamClassifier
from movinet_runtime.errors import MovinetError

try:
    classifier = StreamClassifier(sys.argv[1], threads=1)
    classifier.step(np.zeros((*classifier.size, 3), np.uint8))
except MovinetError as error:
    print(error)
"""


def test_hostile_files_end_in_one_line(stream_model: Path, tmp_path: Path) -> None:
    """Bytes changed where the structure is: refused with a line, or run, but never a crash."""
    rng = np.random.default_rng(5)
    whole = stream_model.read_bytes()
    refused = 0
    for i in range(10):
        content = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            end = int(rng.integers(1, 60_000))
            at = end if rng.random() < 0.4 else len(content) - end
            content[at] = int(rng.integers(0, 256))
        path = tmp_path / f"{i}.tflite"
        path.write_bytes(content)
        done = subprocess.run([sys.executable, "-c", LOAD, path], capture_output=True, text=True)
        assert done.returncode == 0, (i, done.stderr)
        refused += str(path) in done.stdout
    assert refused > 3
