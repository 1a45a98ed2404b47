"""Exported files: one partition, true to the network, and they say what they are."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from movinet_convert import clip_graph, flatbuffer, stream_graph
from movinet_convert.export import export
from movinet_convert.network import MoViNet, load_into_network
from movinet_convert.parameters import HARD_SIGMOIDS, HardSigmoid, parameters, random_weights
from movinet_convert.proof import ParityError
from movinet_models.errors import WeightsError
from movinet_models.family import FAMILY, MODEL_IDS, lookup
from movinet_runtime import StreamClassifier
from movinet_runtime.errors import LabelsError, SourceError
from movinet_runtime.inspection import inspect
from movinet_runtime.model_file import ModelFile

SMALL = 64


@pytest.mark.parametrize("model_id", MODEL_IDS)
def test_every_model_exports_as_one_partition(model_id: str, tmp_path: Path) -> None:
    spec = lookup(model_id).at(SMALL)
    weights = random_weights(spec, 5)
    if spec.streams:
        graph = stream_graph.build(spec, weights)
    else:
        graph = clip_graph.build(spec, weights, frames=4)
    path = tmp_path / "model.tflite"
    path.write_bytes(flatbuffer.serialize(graph, model_id, {}))
    found = inspect(ModelFile.read(path))
    assert found.partitions == 1
    assert found.ops_outside == {}
    if not spec.streams:
        assert found.states == []
        return
    layers = list(spec.layers())
    buffered = [layer for layer in layers if layer.kernel[0] > 1]
    names = {spec.name for spec in found.states}
    assert names == {"state_frame_count", "state_head_pool_buffer"} | {
        f"state_{layer.name}_pool_buffer"
        for layer in layers
        if spec.architecture.squeeze_excitation
    } | {f"state_{layer.name}_stream_buffer" for layer in buffered}
    shapes = {spec.name: spec.shape for spec in found.states}
    for layer in buffered:
        kept, *_, channels = shapes[f"state_{layer.name}_stream_buffer"][1:]
        assert (kept, channels) == (layer.kernel[0] - 1, layer.expand)


@pytest.mark.parametrize("member", ["a0", "a1", "a2"])
def test_one_partition_at_full_resolution(member: str, tmp_path: Path) -> None:
    spec = lookup(f"{member}-stream")
    path = tmp_path / "model.tflite"
    graph = stream_graph.build(spec, random_weights(spec, 600))
    path.write_bytes(flatbuffer.serialize(graph, spec.id, {}))
    found = inspect(ModelFile.read(path))
    assert (found.partitions, found.ops_outside) == (1, {})
    # What made the published layout slow has no place here.
    assert not {"CAST", "BROADCAST_TO", "TRANSPOSE", "PACK"} & found.ops.keys()
    assert found.ops["DIV"] == 1


def test_peers_have_the_partitions_that_were_reported(shared: Path) -> None:
    """The counting itself: figures that were taken from the delegate's own log."""
    counts = {"float32": 2, "float16": 2, "dynamic": 13, "int8": 76}
    for variant, partitions in counts.items():
        path = shared / "peers" / f"movinet_a0_stream_{variant}.tflite"
        assert inspect(ModelFile.read(path)).partitions == partitions
    assert inspect(ModelFile.read(path)).ops_outside["HARD_SWISH"] == 58


def test_the_network_has_exactly_the_canonical_tensors() -> None:
    for model_id in ("a0-stream", "a3-stream", "a0-base"):
        spec = lookup(model_id).at(SMALL)
        network = MoViNet(model_id, 5, SMALL)
        shapes = {name: tuple(v.shape) for name, v in network.parameters().items()}
        assert shapes == parameters(spec, 5)
        assert len(network.weights) == len(shapes)
        names = {id(variable) for variable in network.trainable_variables}
        for name, variable in network.parameters().items():
            assert (id(variable) in names) == ("moving" not in name)


def test_the_network_trains() -> None:
    network = MoViNet("a0-stream", 3, 32)
    network.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    video = np.random.default_rng(0).random((2, 4, 32, 32, 3), np.float32)
    before = network.bottlenecks[0].expansion.norm.moving_mean.numpy().copy()
    losses = network.fit(video, np.array([0, 2]), epochs=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert not np.array_equal(before, network.bottlenecks[0].expansion.norm.moving_mean.numpy())


@pytest.mark.parametrize("model_id", ["a0-stream", "t0-base"])
def test_export_is_checked_against_keras_and_describes_itself(
    model_id: str, tmp_path: Path
) -> None:
    spec = lookup(model_id)
    labels = [f"Klasse {i}: «ü»" for i in range(600)]
    path = tmp_path / "out.tflite"
    steps: list[str] = []
    frames = None if spec.streams else 6
    outputs = {"float32": path}
    (done,) = export(
        spec,
        "random:4",
        outputs,
        labels=labels,
        resolution=SMALL,
        frames=frames,
        report=steps.append,
    )
    (parity,) = done.parity
    assert parity.against == "the Keras network"
    assert parity.error < 1e-4
    assert parity.frames == (16 if spec.streams else 6)
    assert "running the Keras network" in steps
    about = ModelFile.read(path).metadata
    assert about["model"] == model_id
    assert about["variant"] == "float32"
    assert about["labels"] == labels
    assert (about["resolution"], about["fps"], about["clip_frames"]) == (SMALL, 5, 50)
    assert about["input_range"] == [0.0, 1.0]
    assert about["classes"] == 600
    assert about["weights"]["source"] == "random:4"
    assert len(about["weights"]["sha256"]) == 64
    assert set(about["states"]) == {s.name for s in done.inspection.states}
    with zipfile.ZipFile(path) as archive:  # where other tools look for labels
        assert archive.read("labels.txt").decode().splitlines() == labels
    if spec.streams:
        assert StreamClassifier(path).labels == labels


def test_the_same_export_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one.tflite", tmp_path / "other.tflite"
    for path in (one, other):
        export(lookup("t0-stream"), "random:1", {"float32": path}, resolution=SMALL)
    assert one.read_bytes() == other.read_bytes()


def test_a_keras_file_exports_with_its_labels_and_resolution(tmp_path: Path) -> None:
    spec = lookup("a0-stream").at(SMALL)
    source = tmp_path / "mine.keras"
    load_into_network(spec, random_weights(spec, 3), ["fall", "sit", "walk"]).save(source)
    path = tmp_path / "mine.tflite"
    (done,) = export(lookup("a0-stream"), str(source), {"float32": path})
    assert done.parity[-1].error < 1e-4
    classifier = StreamClassifier(path)
    assert classifier.labels == ["fall", "sit", "walk"]
    assert classifier.size == (SMALL, SMALL)
    assert classifier.metadata["weights"]["source"] == "mine.keras"


def test_parity_notices_a_wrong_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = HARD_SIGMOIDS | {"sixth": HardSigmoid(1.0, 0.15)}
    monkeypatch.setattr("movinet_convert.blocks.HARD_SIGMOIDS", wrong)
    outputs = {"float32": tmp_path / "a.tflite"}
    with pytest.raises(ParityError, match=r"not what the Keras network computes: .* at frame"):
        export(lookup("a0-stream"), "random", outputs, resolution=SMALL)
    assert not any(tmp_path.iterdir())
    (done,) = export(lookup("a0-stream"), "random", outputs, resolution=SMALL, force=True)
    assert done.parity[-1].error > 1e-3
    assert ModelFile.read(done.path).metadata["parity"]["forced"]
    assert any(note.startswith("FORCED") for note in done.notes)


def test_nothing_is_written_when_something_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "out.tflite"
    path.write_bytes(b"what was there before")
    spec, outputs = lookup("a0-stream"), {"float32": path, "dynamic": tmp_path / "other.tflite"}
    with pytest.raises(LabelsError, match="2 labels for 600 logits"):
        export(spec, "random", outputs, labels=["a", "b"])
    with pytest.raises(WeightsError):
        export(spec, str(tmp_path / "gone"), outputs)
    with pytest.raises(SourceError):
        export(spec, "random", outputs, resolution=SMALL, clip=tmp_path / "gone.mp4")
    with pytest.raises(SourceError):
        export(spec, "random", outputs, resolution=SMALL, calibrate=[str(tmp_path / "gone")])
    assert path.read_bytes() == b"what was there before"
    assert [file.name for file in tmp_path.iterdir()] == ["out.tflite"]


@pytest.mark.parametrize(
    "step",
    [
        "reading weights",
        "building the graph",
        "drawing clips to calibrate on",
        "calibrating on 384 frames",
        "running the Keras network",
        "running float32 on clips held out from calibration",
        "measuring float32",
        "measuring dynamic",
        "writing",
    ],
)
def test_nothing_is_written_when_it_is_interrupted(tmp_path: Path, step: str) -> None:
    before = tmp_path / "float32.tflite"
    before.write_bytes(b"what was there before")
    outputs = {variant: tmp_path / f"{variant}.tflite" for variant in ("float32", "dynamic")}

    def interrupt(at: str) -> None:
        if at == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(
            lookup("t0-stream"), "random", outputs, resolution=32, report=interrupt, long_frames=2
        )
    assert before.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [before]


def test_damaged_metadata_is_named(tmp_path: Path, stream_model: Path) -> None:
    content = bytearray(stream_model.read_bytes())
    at = content.index(b'{"version":1')
    content[at] = ord("x")
    path = tmp_path / "damaged.tflite"
    path.write_bytes(content)
    from movinet_runtime.errors import ModelFileError

    with pytest.raises(ModelFileError, match="metadata cannot be read"):
        ModelFile.read(path).metadata  # noqa: B018
    content[at] = ord("{")
    content[at : at + 12] = b'{"version":9'
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="install a newer movinet-runtime"):
        ModelFile.read(path).metadata  # noqa: B018


def test_the_description_fits_its_documentation(stream_model: Path) -> None:
    """Every field that is written is explained in docs/model-file.md."""
    document = (Path(__file__).parents[1] / "docs" / "model-file.md").read_text()
    for field in [*ModelFile.read(stream_model).metadata, "calibration", "fidelity"]:
        assert f"`{field}`" in document, field


def test_widths_follow_the_reference() -> None:
    layers = {layer.name: layer for layer in lookup("a3-stream").layers()}
    assert layers["block3_layer0"].projects_skip  # 80 -> 88 without stride
    assert layers["block3_layer0"].stride == 1
    assert layers["block2_layer0"].se_hidden == 120
    assert next(iter(lookup("a0-stream").layers())).se_hidden == 16
    assert next(iter(lookup("a0-base").layers())).se_hidden == 8
    assert {m: len(list(lookup(f"{m}-base").layers())) for m in FAMILY if "lite" not in m} == {
        "a0": 15, "a1": 24, "a2": 26, "a3": 33, "a4": 47, "a5": 59, "t0": 14,
    }  # fmt: skip
