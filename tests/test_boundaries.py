"""Descriptions, states and frames are checked once, where they come in: one line each."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from movinet_runtime import StreamClassifier, StreamModel
from movinet_runtime.engines.interpreter import load_interpreter
from movinet_runtime.errors import ModelFileError, SourceError, StateError, UsageError
from movinet_runtime.model_file import ModelFile
from tests.small import DESCRIPTION, SIDE, small_bytes, small_model

FRAME = np.full((SIDE, SIDE, 3), 51, np.uint8)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ([1, 2], "'the description' is [1, 2]; it must be an object"),
        (DESCRIPTION | {"version": "1"}, "'version' is '1'; it must be a whole number"),
        (DESCRIPTION | {"version": True}, "'version' is True"),
        (DESCRIPTION | {"fps": "fast"}, "'fps' is 'fast'; it must be a number above 0"),
        (DESCRIPTION | {"fps": 0}, "'fps' is 0"),
        (DESCRIPTION | {"fps": 1e300}, "'fps' is 1e+300"),
        (DESCRIPTION | {"fps": float("nan")}, "cannot be read"),
        (DESCRIPTION | {"horizon": -5}, "'horizon' is -5"),
        (DESCRIPTION | {"horizon": "x"}, "'horizon' is 'x'"),
        (DESCRIPTION | {"labels": 7}, "'labels' is 7; it must be a list of texts"),
        (DESCRIPTION | {"labels": ["a", 2, "c"]}, "'labels' is ['a', 2, 'c']"),
        (DESCRIPTION | {"labels": ["a", "b", "\ud800"]}, "'labels' is ['a', 'b', '\\ud800']"),
        (DESCRIPTION | {"labels": ["a"]}, "1 labels for 3 classes"),
        (DESCRIPTION | {"in_place": "no"}, "'in_place' is 'no'"),
        (DESCRIPTION | {"weights": []}, "'weights' is []; it must be an object"),
        (DESCRIPTION | {"weights": {}}, "lack 'source'"),
        ({k: v for k, v in DESCRIPTION.items() if k != "weights"}, "lack 'weights'"),
        ({k: v for k, v in DESCRIPTION.items() if k != "version"}, "lack 'version'"),
        (b"[" * 100_000, "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_a_wrong_description_is_one_line(tmp_path: Path, description: Any, message: str) -> None:
    path = tmp_path / "wrong.tflite"
    path.write_bytes(small_bytes(description))
    for read in (StreamModel, lambda path: ModelFile.read(path).metadata):
        with pytest.raises(ModelFileError) as caught:
            read(path)
        assert f"{path} is damaged: its metadata" in str(caught.value)
        assert message in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_a_right_description_is_typed(tmp_path: Path) -> None:
    about = ModelFile.read(small_model(tmp_path / "a.tflite", horizon=7)).description
    assert about is not None
    assert (about.model, about.labels, about.fps) == (
        "a0-stream",
        ("action 0", "action 1", "action 2"),
        5.0,
    )
    model = StreamModel(tmp_path / "a.tflite")
    assert (model.fps, model.horizon, list(model.labels)) == (5.0, 7, list(about.labels or ()))


def saved(tmp_path: Path) -> tuple[StreamClassifier, Path]:
    classifier = StreamClassifier(small_model(tmp_path / "a.tflite"))
    classifier.step(FRAME)
    classifier.save_state(tmp_path / "state.npz")
    return classifier, tmp_path / "state.npz"


def rewritten(path: Path, **changed: Any) -> None:
    """Write the archive again, with entries changed: arrays, or the bytes of an entry."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    for name, value in changed.items():
        if isinstance(value, bytes):
            entries[f"{name}.npy"] = value
        else:
            with (path.parent / "entry.npy").open("wb") as file:
                np.lib.format.write_array(file, np.asarray(value))
            entries[f"{name}.npy"] = (path.parent / "entry.npy").read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def huge_header() -> bytes:
    """An entry that claims 8 TB and holds nothing."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def about_with(path: Path, **changed: Any) -> Any:
    with np.load(path) as file:
        return np.array(json.dumps(json.loads(str(file["about"])) | changed))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("state_frame_count", np.full((1, 1, 1, 1), np.nan, np.float32), "NaN or infinite"),
        ("state_frame_count", np.full((1, 1, 1, 1), -3, np.float32), "less than no frames"),
        ("state_colour_stream_buffer", np.full((1, 1, 1, 3), np.inf, np.float32), "NaN or inf"),
        ("state_colour_stream_buffer", np.zeros((1, 1, 1, 4), np.float32), "bytes|is float32"),
        ("state_colour_stream_buffer", np.zeros((1, 1, 1, 3)), "float64"),
        ("state_colour_stream_buffer", np.array([None] * 3), "data"),
        ("state_colour_stream_buffer", huge_header(), "its header says 8000000000000"),
        ("state_colour_stream_buffer", bytes(10**7), "10000000 bytes where"),
        ("about", huge_header(), "its header says"),
        ("about", np.array("[]"), "no state that can be read"),
        ("about", {"index": -1}, "frame number is -1"),
        ("about", {"index": 1.5}, "frame number is 1.5"),
        ("about", {"version": "x"}, "version 'x'"),
    ],
)
def test_a_wrong_state_is_refused_and_the_present_one_kept(
    tmp_path: Path, name: str, value: Any, message: str
) -> None:
    classifier, path = saved(tmp_path)
    classifier.step(FRAME)
    before = classifier.state
    rewritten(path, **{name: about_with(path, **value) if isinstance(value, dict) else value})
    with pytest.raises(StateError, match=message) as caught:
        classifier.load_state(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    after = classifier.state
    assert after.index == before.index == 2
    for key, array in before.items():
        np.testing.assert_array_equal(after[key], array)


def test_restore_and_load_agree_on_the_frame_number(tmp_path: Path) -> None:
    first, path = saved(tmp_path)
    loaded, restored, plain = (StreamClassifier(first.model) for _ in range(3))
    loaded.load_state(path)
    restored.restore(first.state)
    assert loaded.step(FRAME).index == restored.step(FRAME).index == first.step(FRAME).index == 1
    plain.step(FRAME)
    plain.restore(dict(first.state))  # a mapping has no number
    assert plain.step(FRAME).index == 0


def test_a_loaded_model_keeps_its_labels_threads_and_engine(tmp_path: Path) -> None:
    model = StreamModel(small_model(tmp_path / "a.tflite"))
    for ignored in ({"labels": ["a", "b", "c"]}, {"threads": 2}, {"engine": "interpreter"}):
        with pytest.raises(UsageError, match="loaded model has its threads, labels and engine"):
            StreamClassifier(model, **ignored)
    with pytest.raises(UsageError, match="not -1"):
        model.stream(horizon=-1)


def test_frames_of_other_dtypes_and_ranges_are_refused(tmp_path: Path) -> None:
    classifier = StreamClassifier(small_model(tmp_path / "a.tflite"))
    right = classifier.step(FRAME).logits
    classifier.reset()
    np.testing.assert_allclose(classifier.step(FRAME / np.float32(255)).logits, right, atol=1e-6)
    before = classifier.state
    for frame, message in (
        (FRAME.astype(np.int64), "uint8, or float32 from 0 to 1, this is int64"),
        (FRAME.astype(np.float64), "this is float64"),
        (FRAME / 255, "this is float64"),
        (FRAME.astype(np.float16), "this is float16"),
        (FRAME.astype(np.float32), "from 0 to 1, this is from 51 to 51"),
        (FRAME / np.float32(255) - 1, "this is from -0.8 to -0.8"),
    ):
        with pytest.raises(SourceError, match=message):
            classifier.step(frame)
    with pytest.raises(SourceError, match="time is in seconds, not nan"):
        classifier.step(FRAME, time=float("nan"))
    assert classifier.state.index == before.index


def test_steps_without_a_time_come_at_the_models_rate(tmp_path: Path) -> None:
    classifier = StreamClassifier(small_model(tmp_path / "a.tflite", fps=4.0))
    assert [classifier.step(FRAME).time for _ in range(3)] == [0, 0.25, 0.5]
    assert classifier.step(FRAME, time=9.5).time == 9.5


def test_frames_and_predictions_can_be_compared(tmp_path: Path) -> None:
    from movinet_runtime import Frame

    one, other = Frame(FRAME, 0.0), Frame(FRAME.copy(), 0.0)
    assert one == one
    assert one != other
    assert len({one, other}) == 2
    classifier = StreamClassifier(small_model(tmp_path / "a.tflite"))
    assert classifier.step(FRAME) != classifier.step(FRAME)


def test_the_compiled_engine_opens_the_bytes_that_were_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone replaces the file between the check and the opening."""
    path = small_model(tmp_path / "a.tflite")

    def swapped(*arguments: Any, **options: Any) -> Any:
        checked = load_interpreter(*arguments, **options)
        path.write_bytes(b"something else")
        return checked

    monkeypatch.setattr("movinet_runtime.engines.compiled.load_interpreter", swapped)
    assert StreamClassifier(path, engine="compiled").step(FRAME).logits.shape == (3,)
