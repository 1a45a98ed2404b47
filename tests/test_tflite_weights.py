"""Any .tflite gives its weights back: ours in every variant, the reference's, Google's."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from movinet_benchmarks.fidelity import MARGIN, sqnr
from movinet_convert import clip_graph, flatbuffer, metadata, stream_graph
from movinet_convert.fold import folded
from movinet_convert.frames import frames_apart
from movinet_convert.graph import Graph
from movinet_convert.parameters import Array, Weights, random_weights, units
from movinet_convert.proof import compared, model_logits
from movinet_convert.quantize import TRANSFORMS, Statistics, needs_ranges
from movinet_convert.quantize.calibration import moving_noise
from movinet_convert.quantize.fixed import affine
from movinet_convert.sources import LoadedWeights, load_weights
from movinet_models.errors import WeightsError
from movinet_models.family import GATES, Gate, ModelSpec, lookup
from movinet_models.variants import VARIANTS, variants_of
from movinet_runtime import open_frames
from movinet_runtime.errors import UsageError
from movinet_runtime.inspection import inspect
from movinet_runtime.model_file import ModelFile
from movinet_runtime.preprocess import resized

CLASSES = 7
SIDE = 64
REAL = ("carving_ice.mp4", "jumpingjack.gif", "arm_wrestling.mp4", "cleaning_pool.mp4")


def written(spec: ModelSpec, weights: Weights, variant: str, path: Path, gate: Gate) -> Path:
    """Write a variant as export does, without measuring anything."""
    loaded = LoadedWeights(weights, "random:0", "0" * 64, gate if spec.gated else None)
    float_graph = ours(spec, loaded)
    spans = dict.fromkeys(needs_ranges(variant, float_graph), (-30.0, 30.0))
    graph = frames_apart(TRANSFORMS[variant](float_graph, Statistics(ranges=spans)))
    labels = [f"action {i}" for i in range(CLASSES)]
    about = metadata.of_variant(metadata.describe(spec, loaded, labels), variant, graph)
    content = flatbuffer.serialize(graph, spec.id, metadata.buffers(about, graph))
    path.write_bytes(metadata.with_labels(content, labels))
    return path


def ours(spec: ModelSpec, loaded: LoadedWeights, frames: int = 4) -> Graph:
    if not spec.streams:
        return clip_graph.build(spec, loaded.weights, frames)
    return stream_graph.build(spec, loaded.weights, loaded.hard_sigmoid)


def float_logits(spec: ModelSpec, loaded: LoadedWeights, pictures: np.ndarray) -> Array:
    graph = ours(spec, loaded, len(pictures))
    return model_logits(flatbuffer.serialize(graph, "float32", {}), pictures)


@pytest.mark.parametrize(
    ("model_id", "variant"),
    [
        (model_id, variant)
        for model_id in ("a0-stream", "a3-stream", "a0lite-stream", "t0-base")
        for variant in variants_of(lookup(model_id))
    ],
)
def test_our_own_files_come_back(model_id: str, variant: str, tmp_path: Path) -> None:
    spec = lookup(model_id).at(SIDE)
    weights = random_weights(spec, CLASSES, seed=5)
    path = written(spec, weights, variant, tmp_path / "model.tflite", "fifth")
    loaded = load_weights(str(path), lookup(model_id))
    assert loaded.labels == [f"action {i}" for i in range(CLASSES)]
    assert (loaded.resolution, loaded.classes, loaded.folded) == (SIDE, CLASSES, True)
    assert loaded.gate == ("fifth" if spec.gated else None)
    assert (loaded.int8_share > 0.1) == ("i8" in VARIANTS[variant].recipe.split("_a")[0])
    original = loaded.original
    assert original is not None
    assert original.rounds == (loaded.int8_share > 0)
    pictures = np.stack(list(moving_noise((SIDE, SIDE), 4)))
    expected = (original.unrounded or original.logits)(pictures)
    parity = compared(float_logits(spec, loaded, pictures), expected, "the file", 4, "noise")
    assert parity.holds, parity.failure()


@pytest.mark.parametrize("gate", GATES)
def test_float_weights_come_back_as_they_were_folded(gate: Gate, tmp_path: Path) -> None:
    spec = lookup("a0-stream").at(SIDE)
    weights = random_weights(spec, CLASSES)
    path = written(spec, weights, "float32", tmp_path / "model.tflite", gate)
    found = load_weights(str(path), spec)
    assert found.gate == gate
    for unit in units(spec, CLASSES):
        expected, conv = folded(unit, weights), folded(unit, found.weights)
        layer = unit.name.rpartition("/")[0]
        if unit.name.endswith("/projection"):
            expected = expected.scaled(float(weights[f"{layer}/scale"]))
        np.testing.assert_allclose(conv.kernel, expected.kernel, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(conv.bias, expected.bias, rtol=1e-5, atol=2e-6)


def test_a_gate_that_a_graph_has_cannot_be_changed(tmp_path: Path) -> None:
    spec = lookup("t0-stream").at(SIDE)
    path = written(spec, random_weights(spec, CLASSES), "float32", tmp_path / "a.tflite", "sixth")
    with pytest.raises(UsageError, match="its own graph has its gate"):
        load_weights(str(path), spec, gate="fifth")


def test_labels_may_lie_beside_the_file(tmp_path: Path) -> None:
    spec = lookup("t0-stream").at(SIDE)
    path = tmp_path / "bare.tflite"
    graph = stream_graph.build(spec, random_weights(spec, 3))
    path.write_bytes(flatbuffer.serialize(graph, "bare", {}))
    (tmp_path / "labels.txt").write_text("too\nfew\n")
    assert load_weights(str(path), spec).labels is None
    (tmp_path / "bare.txt").write_text("walk\nrun\njump\n")
    assert load_weights(str(path), spec).labels == ["walk", "run", "jump"]
    assert load_weights(str(path), spec).licence == "not stated"


def test_other_models_and_damage_are_one_line(tmp_path: Path) -> None:
    spec = lookup("t0-stream").at(SIDE)
    path = written(spec, random_weights(spec, CLASSES), "float32", tmp_path / "t0.tflite", "sixth")
    with pytest.raises(WeightsError, match="these are weights of t0-stream") as caught:
        load_weights(str(path), lookup("a0-stream"))
    assert "\n" not in str(caught.value)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for i in range(30):
        damaged = bytearray(content)
        if i % 3 == 0:
            damaged = damaged[: int(rng.integers(8, 2000))]
        else:
            for at in rng.integers(8, 4000, 8):
                damaged[at] = int(rng.integers(256))
        path.write_bytes(damaged)
        # What is damaged may still be whole where it matters; nothing else may be raised.
        with contextlib.suppress(WeightsError):
            load_weights(str(path), spec)


@pytest.mark.parametrize("variant", ["float32", "float16", "dynamic", "int8"])
def test_the_reference_s_own_exports(variant: str, shared: Path) -> None:
    """Float files to 1e-4; of int8 ones our float is nearer to the truth than the file is."""
    spec = lookup("a0-stream")
    loaded = load_weights(str(shared / "peers" / f"movinet_a0_stream_{variant}.tflite"), spec)
    assert loaded.gate == "sixth"
    golden = np.load(shared / "reference" / "a0_stream" / "golden.npz")
    frames, truth = golden["frames"], golden["logits"]
    found, original = float_logits(spec, loaded, frames), loaded.original
    assert original is not None
    file = original.logits(frames)
    exact = (original.unrounded or original.logits)(frames)
    assert compared(found, exact, "the file", len(frames), "").error < 1e-4
    if variant in ("float32", "float16"):
        assert sqnr(found, file) > 50
    else:
        assert loaded.int8_share > 0.99
        assert sqnr(found, truth) > sqnr(file, truth)


@pytest.fixture(scope="module")
def lite(shared: Path) -> LoadedWeights:
    path = shared / "published" / "movinet_a0_stream_int8.tflite"
    return load_weights(str(path), lookup("a0lite-stream"))


@pytest.fixture(scope="module")
def real_clips(shared: Path) -> list[np.ndarray]:
    return [
        np.stack(
            [resized(f.image, (172, 172)) for f in open_frames(shared / "clips" / n).sampled(5)]
        )
        for n in REAL
    ]


def test_the_published_network_is_read_to_float_s_precision(lite: LoadedWeights) -> None:
    assert lite.licence == "Apache-2.0"  # known by its checksum
    assert lite.gate is None
    assert lite.int8_share == 1.0
    original = lite.original
    assert original is not None
    assert original.unrounded is not None
    pictures = np.stack(list(moving_noise((172, 172), 16)))
    found = float_logits(lookup("a0lite-stream"), lite, pictures)
    assert compared(found, original.unrounded(pictures), "the file", 16, "noise").error < 1e-4


@pytest.mark.parametrize("variant", variants_of(lookup("a0lite-stream")))
def test_the_published_network_in_every_variant(
    variant: str, lite: LoadedWeights, real_clips: list[np.ndarray], tmp_path: Path
) -> None:
    """One partition, and the published file's label where that file is decided."""
    spec = lookup("a0lite-stream")
    graph = frames_apart(TRANSFORMS[variant](ours(spec, lite), Statistics(ranges=lite.ranges)))
    content = flatbuffer.serialize(graph, variant, {})
    path = tmp_path / "lite.tflite"
    path.write_bytes(content)
    found = inspect(ModelFile.read(path))
    assert (found.partitions, found.ops_outside) == (1, {})
    assert lite.original is not None
    same, decided = 0, 0
    for clip in real_clips:
        expected, logits = lite.original.logits(clip), model_logits(content, clip)
        two = np.sort(expected, axis=1)[:, -2:]
        leads = two[:, 1] - two[:, 0] > MARGIN
        same += int((expected.argmax(axis=1) == logits.argmax(axis=1))[leads].sum())
        decided += int(leads.sum())
    assert decided > 100
    assert same / decided >= 0.97, f"{same} of {decided}"


@pytest.mark.parametrize(("low", "high"), [(-1.0, 3.0), (0.0, 6.0), (2.0, 5.0), (-7.0, -1.0)])
def test_zero_is_exact_in_every_range(low: float, high: float) -> None:
    span = affine((low, high))
    scale, zero = float(span.scale[0]), int(span.zero_point[0])
    assert -128 <= zero <= 127
    least, most = (-128 - zero) * scale, (127 - zero) * scale
    assert least <= min(low, 0) + scale
    assert most >= max(high, 0) - scale


def test_a_bias_fits_its_int32_where_weights_are_tiny(tmp_path: Path) -> None:
    spec = lookup("a0lite-stream").at(SIDE)
    weights = random_weights(spec, CLASSES)
    for name in ("block0_layer0/feature", "block1_layer0/temporal"):
        weights[f"{name}/kernel"][:, :, :4] = 0
        weights[f"{name}/kernel"][:, :, 4:8] *= 1e-7
        weights[f"{name}/beta"][:8] = 3
    float_graph = ours(spec, LoadedWeights(weights, "random:0", "0"))
    spans = dict.fromkeys(needs_ranges("int8", float_graph), (-30.0, 30.0))
    with np.errstate(all="raise"):
        graph = TRANSFORMS["int8"](float_graph, Statistics(ranges=spans))
    bias = graph.tensors["block0_layer0/feature/bias"]
    assert bias.data is not None
    assert bias.quantization is not None
    real = bias.data * bias.quantization.scale.astype(np.float64)
    expected = folded(next(u for u in units(spec, 7) if u.name == "block0_layer0/feature"), weights)
    np.testing.assert_allclose(real, expected.bias, rtol=1e-3, atol=1e-3)
