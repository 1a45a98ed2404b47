"""ONNX files: what the .tflite computes, in another engine, and they say how they are run."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from movinet_convert import clip_graph, flatbuffer, stream_graph
from movinet_convert.graph import Graph
from movinet_convert.parameters import random_weights
from movinet_convert.proof import ParityError, compared, model_logits
from movinet_models.family import lookup
from movinet_runtime import StreamClassifier
from movinet_runtime.model_file import METADATA_NAME

onnx = pytest.importorskip("onnx", reason="onnx is not installed: movinet-convert[onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

SMALL, FRAMES, CLASSES = 64, 16, 5
STREAMS = ("a0-stream", "a3-stream", "t0-stream", "a0lite-stream")


def noise(frames: int = FRAMES, side: int = SMALL) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (frames, side, side, 3), np.uint8)


def described(graph: Graph) -> dict[str, str]:
    from movinet_convert.onnx_file import output_name

    return {
        name: output_name(then) if then in graph.outputs else then
        for name, then in stream_graph.successors(graph).items()
    }


def serialized(graph: Graph) -> bytes:
    from movinet_convert.onnx_file import serialize

    about = {"states": described(graph)}
    return serialize(graph, "test", {METADATA_NAME: json.dumps(about)})


@pytest.mark.parametrize("model_id", STREAMS)
def test_a_stream_gives_the_logits_of_the_tflite(model_id: str) -> None:
    """Each frame: past frames change places, counts and means go round."""
    from movinet_convert.onnx_export import MAX_ERROR, onnx_logits

    spec = lookup(model_id).at(SMALL)
    weights = random_weights(spec, CLASSES)
    content = serialized(stream_graph.build(spec, weights, frames_apart=True))
    expected = model_logits(
        flatbuffer.serialize(stream_graph.build(spec, weights), "", {}), noise()
    )
    found = onnx_logits(content, noise())
    assert found.shape == (FRAMES, CLASSES)
    assert compared(found, expected, "tflite", FRAMES, "noise").error <= MAX_ERROR
    # The states are not idle: a frame after others is not what it is alone.
    assert np.abs(onnx_logits(content, noise()[-1:])[0] - found[-1]).max() > 0.01 * np.ptp(expected)


@pytest.mark.parametrize("model_id", ["a0-base", "t0-base"])
def test_a_clip_gives_the_logits_of_the_tflite(model_id: str) -> None:
    from movinet_convert.onnx_export import MAX_ERROR, onnx_logits

    spec = lookup(model_id).at(SMALL)
    graph = clip_graph.build(spec, random_weights(spec, CLASSES), FRAMES)
    expected = model_logits(flatbuffer.serialize(graph, "", {}), noise())
    found = onnx_logits(serialized(graph), noise())
    assert compared(found, expected, "tflite", FRAMES, "noise").error <= MAX_ERROR


def test_past_frames_apart_compute_the_same_as_a_tflite() -> None:
    """The form itself, without ONNX: in the engine that the other form runs in."""
    from movinet_runtime.engines.interpreter import load_interpreter
    from movinet_runtime.model_file import ModelFile

    spec = lookup("a0-stream").at(SMALL)
    weights = random_weights(spec, CLASSES)
    apart = stream_graph.build(spec, weights, frames_apart=True)
    model = ModelFile(Path("apart.tflite"), flatbuffer.serialize(apart, "", {}))
    runner = load_interpreter(model, threads=1).get_signature_runner()
    inputs = {name: np.zeros(apart.shape(t), np.float32) for name, t in apart.inputs.items()}
    found = []
    for picture in noise():
        inputs["image"] = (picture / np.float32(255))[None, None]
        outputs = runner(**inputs)
        values = inputs | outputs
        inputs = {s: values[then] for s, then in stream_graph.successors(apart).items()}
        found.append(outputs["logits"][0])
    expected = model_logits(
        flatbuffer.serialize(stream_graph.build(spec, weights), "", {}), noise()
    )
    assert compared(np.stack(found), expected, "the buffer", FRAMES, "noise").error <= 1e-5


def test_nothing_is_transposed_and_names_are_those_of_the_tflite() -> None:
    spec = lookup("a0-stream").at(SMALL)
    graph = stream_graph.build(spec, random_weights(spec, CLASSES), frames_apart=True)
    model = onnx.load_from_string(serialized(graph))
    onnx.checker.check_model(model, full_check=True)
    kinds = [node.op_type for node in model.graph.node]
    assert "Transpose" not in kinds
    assert kinds.count("Reshape") == 1  # the logits
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes["image"] == [1, 3, SMALL, SMALL]
    assert shapes["logits"] == [1, CLASSES]
    published = stream_graph.build(spec, random_weights(spec, CLASSES))
    for name, tensor in published.inputs.items():
        if name.endswith("stream_buffer"):
            _, frames, h, w, c = published.shape(tensor)
            for i in range(frames):
                assert shapes[f"{name}_{i}"] == [1, c, h, w]
            assert f"{name}_{frames}" not in shapes
            assert shapes[f"{name}_out"] == [1, c, h, w]
        elif name != "image":
            assert shapes[name] == shapes[f"{name}_out"]


def test_states_say_what_they_take_after_a_frame() -> None:
    spec = lookup("a0-stream").at(SMALL)
    graph = stream_graph.build(spec, random_weights(spec, CLASSES), frames_apart=True)
    states = described(graph)
    assert states["state_frame_count"] == "state_frame_count_out"
    first = "state_block1_layer0_stream_buffer"
    ours = sorted(name for name in states if name.startswith(first))
    assert [states[name] for name in ours] == [*ours[1:], f"{first}_out"]
    # Without any that are apart, all come out themselves.
    plain = stream_graph.build(spec, random_weights(spec, CLASSES))
    assert all(name == then for name, then in stream_graph.successors(plain).items())


def movinet(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "movinet_runtime.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """An exported file, and what the command said of it."""
    folder = tmp_path_factory.mktemp("onnx")
    labels = folder / "labels.txt"
    labels.write_text("".join(f"Klasse {i} «ü»\n" for i in range(600)), "utf-8")
    arguments = ["export", "a0-stream", "-w", "random:2", "--resolution", SMALL, "--json"]
    done = movinet(*arguments, "--labels", labels, "--format", "onnx", "-o", folder)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    return folder / "a0-stream-float32.onnx", found


def test_the_command_proves_what_it_writes(exported: tuple[Path, dict[str, Any]]) -> None:
    path, found = exported
    keras, tflite = found["parity"]
    assert keras["against"] == "the Keras network"
    assert tflite["against"].startswith("the float32 .tflite, in onnxruntime")
    assert tflite["frames"] == FRAMES
    assert tflite["error"] <= 1e-5
    assert found["file_bytes"] == path.stat().st_size
    assert found["state_bytes"] > 100_000


def test_the_file_describes_itself(exported: tuple[Path, dict[str, Any]]) -> None:
    session = onnxruntime.InferenceSession(exported[0], providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map[METADATA_NAME])
    assert (about["model"], about["variant"]) == ("a0-stream", "float32")
    assert (about["fps"], about["horizon"], about["resolution"]) == (5, 50, SMALL)
    assert about["labels"][599] == "Klasse 599 «ü»"
    names = {i.name for i in session.get_inputs()}
    values = names | {o.name for o in session.get_outputs()}
    assert about["states"].keys() == names - {"image"}
    assert set(about["states"].values()) <= values


def test_the_docs_client_says_what_the_runtime_says(
    exported: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """The lines of docs/onnx.md, run as they are there."""
    page = (Path(__file__).parents[1] / "docs/onnx.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    said: list[str] = []
    names = {"frames": noise(6), "print": said.append}
    exec(code.replace('"a0.onnx"', repr(str(exported[0]))), names)
    path = tmp_path / "a0.tflite"
    spec, labels = lookup("a0-stream").at(SMALL), [f"Klasse {i} «ü»" for i in range(600)]
    weights = random_weights(spec, 600, seed=2)
    graph = stream_graph.build(spec, weights)
    path.write_bytes(flatbuffer.serialize(graph, "", {}))
    stream = StreamClassifier(path, horizon=0)
    assert said == [labels[int(stream.step(frame).logits.argmax())] for frame in noise(6)]


def test_the_same_export_gives_the_same_bytes() -> None:
    spec = lookup("t0-stream").at(SMALL)
    made = [
        serialized(stream_graph.build(spec, random_weights(spec, CLASSES), frames_apart=True))
        for _ in range(2)
    ]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-q", "int8", "--format", "onnx", "-o", "."], "ONNX files are float32"),
        (["-q", "all", "-o", "a.onnx"], "ONNX files are float32"),
        (["--format", "onnx", "-o", "a.tflite"], "--format onnx does not write a.tflite"),
        (["--format", "tflite", "-o", "a.onnx"], "--format tflite does not write a.onnx"),
        (["--format", "torch", "-o", "."], "--format is tflite or onnx, not 'torch'"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], message: str) -> None:
    done = movinet("export", "a0-stream", "-w", "random", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_onnx_the_command_says_how_to_get_it(tmp_path: Path) -> None:
    """As where it is not installed: nothing is read or written before it is asked for."""
    code = (
        "import sys; sys.modules['onnx'] = None; sys.argv = ['movinet', *sys.argv[1:]];"
        "from movinet_runtime.cli.main import main; main()"
    )
    path = tmp_path / "a.onnx"
    command = [sys.executable, "-c", code, "export", "a0-stream", "-w", "random", "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert "ONNX files need onnx" in line
    assert "movinet-convert[onnx]" in line
    assert not path.exists()


def test_a_file_that_computes_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from movinet_convert import onnx_export

    monkeypatch.setattr(onnx_export, "onnx_logits", lambda content, pictures: np.ones((16, 600)))
    path = tmp_path / "a.onnx"
    with pytest.raises(ParityError, match=r"not what the float32 \.tflite, in"):
        onnx_export.export_onnx(lookup("t0-stream"), "random", path, resolution=SMALL)
    assert not path.exists()
