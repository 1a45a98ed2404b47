"""Where weights came from decides their gate; what can be run is run, and must agree."""

import json
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from movinet_convert import stream_graph
from movinet_convert.cli import _outputs
from movinet_convert.export import export
from movinet_convert.graph import Graph, Op
from movinet_convert.network import MoViNet, load_into_network
from movinet_convert.parameters import Weights, random_weights
from movinet_convert.proof import MAX_ERROR, Parity, ParityError, compared
from movinet_convert.quantize import TRANSFORMS, Statistics
from movinet_convert.quantize.calibration import moving_noise
from movinet_convert.sources import LoadedWeights, Origin, load_weights
from movinet_convert.sources.keras import save_npz
from movinet_models.errors import WeightsError
from movinet_models.family import GATES, Gate, lookup
from movinet_models.registry import SOURCES, Source
from movinet_runtime import StreamClassifier
from movinet_runtime.cli.main import main
from movinet_runtime.errors import UsageError
from movinet_runtime.model_file import ModelFile
from tests.saved_model import save as save_model
from tests.test_weights import garden_path, write_checkpoint
from tests.weights_server import Reply, WeightsServer

SPEC = lookup("t0-stream").at(32)
CLASSES = 3
MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights(SPEC, CLASSES, seed=2)


def garden(folder: Path, weights: Weights) -> Path:
    folder.mkdir(parents=True)
    paths = {garden_path(name, SPEC): value for name, value in weights.items()}
    return write_checkpoint(folder / "ckpt-1", paths)


def logits(weights: Weights, gate: Gate, frames: int = 4) -> np.ndarray:
    network = load_into_network(SPEC, weights, gate=gate)
    pictures = np.stack(list(moving_noise((32, 32), frames)))
    found: np.ndarray = np.asarray(network.stream(pictures[None] / np.float32(255))[0])[0]
    return found


def test_the_gates_are_what_they_say(weights: Weights) -> None:
    """Both forms against their definitions, and different from each other."""
    x = np.linspace(-4, 4, 101, dtype=np.float32)
    from movinet_convert.network import hard_sigmoid

    fifth, sixth = (np.asarray(hard_sigmoid(x, gate)) for gate in GATES)
    np.testing.assert_allclose(fifth, np.clip(x / 5 + 0.5, 0, 1), atol=1e-6)
    np.testing.assert_allclose(sixth, np.clip(x + 3, 0, 6) * 0.16667, atol=1e-6)
    assert np.ptp(logits(weights, "fifth") - logits(weights, "sixth")) > 0


@pytest.mark.parametrize("gate", GATES)
def test_network_and_file_agree_in_both_forms(gate: Gate, weights: Weights, tmp_path: Path) -> None:
    from movinet_convert import flatbuffer

    path = tmp_path / "model.tflite"
    graph = stream_graph.build(SPEC, weights, gate)
    path.write_bytes(flatbuffer.serialize(graph, "t0", {}))
    classifier = StreamClassifier(path, horizon=0)
    found = np.stack([classifier.step(frame).logits for frame in moving_noise((32, 32), 4)])
    assert compared(found, logits(weights, gate), "Keras", 4, "noise").error < 1e-5


@pytest.mark.parametrize(
    ("name", "gate"),
    [
        ("movinet_a0_stream", "fifth"),
        ("movinet_a3_stream_legacy", "fifth"),
        ("movinet_a0_base", "sixth"),
        ("a0_stream", "sixth"),
        ("my_movinet_a0_stream", "sixth"),
    ],
)
def test_a_bare_checkpoint_is_told_by_its_name(
    name: str, gate: Gate, weights: Weights, tmp_path: Path
) -> None:
    prefix = garden(tmp_path / name, weights)
    archive = tmp_path / f"{name}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / name, arcname="x")
    for source in (prefix, tmp_path / name, archive):
        loaded = load_weights(str(source), SPEC)
        assert loaded.gate == gate
        assert loaded.gate_reason


def test_the_order_of_who_says_which_gate(weights: Weights, tmp_path: Path) -> None:
    prefix = garden(tmp_path / "movinet_a0_stream", weights)
    published = Origin("https://example.org/a0", "Apache-2.0", "sixth")
    # Where it was published comes before the name, and the user before all.
    assert load_weights(str(prefix), SPEC, origin=published).gate == "sixth"
    chosen = load_weights(str(prefix), SPEC, gate="fifth", origin=published)
    assert (chosen.gate, chosen.gate_reason) == ("fifth", "--gate")
    assert (chosen.source, chosen.licence) == (published.url, "Apache-2.0")
    # A SavedModel's own graph comes before where it was published.
    folder = save_model(tmp_path / "hub", SPEC, weights, "fifth")
    assert load_weights(str(folder), SPEC, origin=published).gate == "fifth"
    assert load_weights(str(folder), SPEC, gate="sixth").gate == "sixth"
    assert load_weights(str(prefix), SPEC).licence == "not stated"
    assert load_weights("random", SPEC, CLASSES).licence is None


@pytest.mark.parametrize("gate", GATES)
def test_our_files_carry_their_gate(gate: Gate, weights: Weights, tmp_path: Path) -> None:
    load_into_network(SPEC, weights, gate=gate).save(tmp_path / "mine.keras")
    loaded = load_weights(str(tmp_path / "mine.keras"), SPEC)
    assert (loaded.gate, loaded.gate_reason) == (gate, "the file says so")
    save_npz(loaded, tmp_path / "mine.npz")
    again = load_weights(str(tmp_path / "mine.npz"), SPEC)
    assert (again.gate, again.licence) == (gate, "not stated")
    with np.load(tmp_path / "mine.npz") as file:
        assert "licence" not in json.loads(str(file["about"]))
    outputs = {"float32": tmp_path / "mine.tflite"}
    export(lookup("t0-stream"), str(tmp_path / "mine.npz"), outputs)
    assert ModelFile.read(tmp_path / "mine.tflite").metadata["gate"] == gate
    assert load_weights(str(tmp_path / "mine.tflite"), SPEC).gate == gate
    shown = [*MOVINET, "inspect", str(tmp_path / "mine.tflite")]
    table = subprocess.run(shown, capture_output=True, text=True).stdout
    assert f"gate {gate}" in " ".join(table.split())


def test_models_without_a_hard_sigmoid_have_no_gate() -> None:
    for model_id in ("t0-base", "a0lite-stream"):
        loaded = load_weights("random", lookup(model_id).at(32), CLASSES)
        assert loaded.gate is None


@pytest.mark.parametrize("gate", GATES)
def test_a_saved_model_is_run_and_comes_first(gate: Gate, weights: Weights, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "hub", SPEC, weights, gate)
    archive = tmp_path / "hub.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=".")
    outputs = {"float32": tmp_path / "a.tflite"}
    for source in (folder, archive):
        (done,) = export(SPEC, str(source), outputs, resolution=32)
        first, last = done.parity
        assert first.against == "the SavedModel, in TensorFlow"
        assert first.error < MAX_ERROR
        assert first.frames >= 16
        assert last.against == "the Keras network"
        assert f"gate {gate}: its own graph computes it" in done.notes[1]
    wrong = next(other for other in GATES if other != gate)
    with pytest.raises(ParityError, match="not what the SavedModel, in TensorFlow computes"):
        export(SPEC, str(folder), outputs, gate=wrong, resolution=32)


def test_a_base_saved_model_is_run_and_its_variants_are_measured(tmp_path: Path) -> None:
    spec = lookup("t0-base").at(32)
    folder = save_model(tmp_path / "hub", spec, random_weights(spec, CLASSES))
    outputs = {v: tmp_path / f"{v}.tflite" for v in ("float32", "float16", "dynamic")}
    done = export(spec, str(folder), outputs, resolution=32, frames=16)
    assert done[0].parity[0].against == "the SavedModel, in TensorFlow"
    assert done[0].parity[0].error < MAX_ERROR
    assert done[0].fidelity is None
    for one, floor in zip(done[1:], (45, 20), strict=True):
        assert one.fidelity is not None
        assert one.fidelity.long is None
        assert one.fidelity.worst_sqnr_db > floor
        about = ModelFile.read(one.path).metadata
        assert about["fidelity"]["short"]["frames"] == 3
        assert about["parity"]["against"] == [
            "the SavedModel, in TensorFlow",
            "the Keras network",
        ]


def test_a_source_that_disagrees_writes_nothing(weights: Weights, tmp_path: Path) -> None:
    """Its own answers are 1 % off what its weights give: exit code 1, --force marks the file."""
    folder = save_model(tmp_path / "hub", SPEC, weights, answer=1.01)
    path = tmp_path / "a.tflite"
    words = ("export", "t0-stream", "-w", folder, "-q", "float32", "--resolution", 32, "-o", path)
    command = [*MOVINET, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "not what the SavedModel, in TensorFlow computes" in done.stderr
    assert "at frame" in done.stderr
    assert "Traceback" not in done.stderr
    assert not path.exists()
    done = subprocess.run([*command, "--force", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (summary,) = json.loads(done.stdout)
    assert [one["holds"] for one in summary["parity"]] == [False, True]
    assert summary["metadata"]["parity"]["forced"] is True
    shown = subprocess.run([*MOVINET, "inspect", path], capture_output=True, text=True)
    assert "FAILED against its source" in shown.stdout


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_write_nothing(
    value: float, weights: Weights, tmp_path: Path
) -> None:
    broken = weights | {"head/bias": np.full_like(weights["head/bias"], value)}
    prefix = garden(tmp_path / "a", broken)
    path = tmp_path / "a.tflite"
    done = subprocess.run(
        [*MOVINET, "export", "t0-stream", "-q", "float32", "-w", prefix, "-o", path],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "NaN or infinite values in head/bias" in done.stderr
    assert not path.exists()


def test_nan_never_passes() -> None:
    good = np.arange(6, dtype=np.float32).reshape(2, 3)
    bad = good.copy()
    bad[1, 1] = np.nan
    for found, expected in ((bad, good), (good, bad), (bad, bad)):
        for quantized in (False, True):
            parity = compared(found, expected, "x", 2, "clip", quantized)
            assert not parity.holds
            assert parity.frame == 1
    assert not compared(good * 0, good * 0, "x", 2, "clip").holds  # no range to compare with
    assert compared(good, good, "x", 2, "clip").holds
    with pytest.raises(ParityError, match="gives logits"):
        compared(good, good[:1], "x", 2, "clip")
    assert not Parity("x", float("nan"), 0, 0.0, 50.0, 2, "clip").holds


def test_a_path_that_begins_with_random_is_a_path(weights: Weights, tmp_path: Path) -> None:
    prefix = garden(tmp_path / "random_start", weights)
    assert load_weights(str(prefix), SPEC).classes == CLASSES
    with pytest.raises(WeightsError, match="no weights at random_gone"):
        load_weights("random_gone", SPEC)
    loaded = load_weights(str(prefix), SPEC)
    from movinet_convert.metadata import describe

    assert describe(SPEC, loaded, None)["weights"]["source"] == "ckpt-1"


def test_training_keeps_the_gate_of_what_it_starts_from(tmp_path: Path, weights: Weights) -> None:
    from movinet_convert.training.start import begin

    prefix = garden(tmp_path / "movinet_a0_stream", weights)
    start = begin(SPEC, str(prefix), ["a", "b"], dropout=0.1)
    assert (start.network.gate, start.folded, len(start.digest)) == ("fifth", False, 64)
    same, again, other = (
        begin(SPEC, "none", ["a", "b"], dropout=0.1, seed=seed).network for seed in (1, 1, 2)
    )
    assert same.gate == "sixth"
    kernels = [network.classifier.conv.kernel.numpy() for network in (same, again, other)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


def test_statistics_that_were_folded_come_back(tmp_path: Path, weights: Weights) -> None:
    """The network answers as before; in training it begins near there, not far from it."""
    from movinet_convert.network import scaled
    from movinet_convert.training.fit import restore_statistics

    path = tmp_path / "a.tflite"
    export(SPEC, "random:2", {"float32": path}, resolution=32)
    loaded = load_weights(str(path), SPEC)
    assert loaded.folded
    rng = np.random.default_rng(0)
    videos = [rng.integers(0, 256, (4, 6, 32, 32, 3), np.uint8) for _ in range(3)]

    def answers(network: MoViNet, training: bool) -> np.ndarray:
        return np.asarray(network.stream(scaled(videos[0]), training=training)[0])

    network = load_into_network(SPEC, loaded.weights, gate=loaded.hard_sigmoid)
    before = answers(network, False)
    stranger = load_into_network(SPEC, loaded.weights, gate=loaded.hard_sigmoid)
    lost = answers(stranger, True)
    restore_statistics(network, [(video, None, None) for video in videos])
    after = answers(network, False)
    assert np.abs(after - before).max() < 1e-4 * np.ptp(before)
    trained = answers(network, True)
    spread = np.abs(before - before.mean()).mean()
    assert np.abs(trained - before).mean() < 0.5 * spread
    assert np.abs(lost - before).mean() > np.abs(trained - before).mean() * 2


def test_no_source_alters_what_it_does_not_know() -> None:
    loaded = LoadedWeights({}, "x", "0")
    assert (loaded.gate, loaded.licence, loaded.hard_sigmoid) == (None, "not stated", "sixth")


def test_options_that_do_not_apply_are_refused(tmp_path: Path) -> None:
    for arguments, message in (
        (["t0-stream", "--target", "cortex-a72"], "--target is for --quantize auto"),
        (["t0-stream", "--min-sqnr", "20"], "--min-sqnr is for --quantize auto"),
        (["t0-base", "--gate", "sixth"], "no hard sigmoid"),
        (["t0-stream", "-q", "auto", "--min-sqnr", "nan"], "--min-sqnr is a number"),
        (["t0-stream", "-q", "auto", "-q", "dynamic"], "give it alone"),
        (["t0-stream", "--gate", "seventh"], "--gate is fifth or sixth"),
    ):
        done = subprocess.run(
            [*MOVINET, "export", *arguments, "-w", "random", "-o", tmp_path / "a.tflite"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert message in done.stderr
    with pytest.raises(UsageError, match="there is no folder"):
        _outputs("t0-stream", ["float32"], tmp_path / "missing" / "x.tflite")


def test_the_weights_of_2021(shared: Path, tmp_path: Path) -> None:
    """With no flag: the golden outputs, and what the SavedModel says itself."""
    spec = lookup("a0-stream")
    source = shared / "reference" / "a0_stream_2021_hub.tar.gz"
    (done,) = export(spec, str(source), {"float32": tmp_path / "a.tflite"})
    assert done.parity[0].against == "the SavedModel, in TensorFlow"
    assert done.parity[0].error < MAX_ERROR
    golden = np.load(shared / "reference" / "a0_stream_2021" / "golden.npz")
    classifier = StreamClassifier(tmp_path / "a.tflite", horizon=0)
    found = np.stack([classifier.step(frame).logits for frame in golden["frames"]])
    assert compared(found, golden["logits"], "golden", len(found), "").error < MAX_ERROR
    assert ModelFile.read(done.path).metadata["gate"] == "fifth"


@pytest.mark.parametrize("form", ["stream", "base"])
def test_the_saved_models_of_today(form: str, shared: Path, tmp_path: Path) -> None:
    spec = lookup(f"a0-{form}")
    source = shared / "reference" / f"a0_{form}_hub.tar.gz"
    frames = None if spec.streams else 16
    (done,) = export(spec, str(source), {"float32": tmp_path / "a.tflite"}, frames=frames)
    assert done.parity[0].against == "the SavedModel, in TensorFlow"
    assert done.parity[0].error < MAX_ERROR


def test_a_saved_model_that_would_do_more_than_arithmetic_is_not_run(tmp_path: Path) -> None:
    """A graph that writes a file when it is called: read, not run, and the summary says so."""

    from movinet_convert.backend import tf

    mark = tmp_path / "it-ran"

    def writes(x, gate):  # type: ignore[no-untyped-def]
        with tf.control_dependencies([tf.io.write_file(str(mark), "x")]):
            return tf.nn.relu6(x + 3.0) * 0.16667

    spec = lookup("t0-stream").at(32)
    with patch("tests.saved_model.sixth", writes):
        folder = save_model(tmp_path / "hub", spec, random_weights(spec, CLASSES))
    mark.unlink(missing_ok=True)  # tracing may have run it once
    loaded = load_weights(str(folder), spec)
    assert loaded.original is None
    assert "WriteFile" in loaded.notes[0]
    (done,) = export(spec, str(folder), {"float32": tmp_path / "a.tflite"}, resolution=32)
    assert [one.against for one in done.parity] == ["the Keras network"]
    assert not mark.exists()


def test_a_tflite_wired_otherwise_is_refused_at_any_resolution(
    weights: Weights, tmp_path: Path
) -> None:
    """Another activation, the same convolutions: only running the source can tell."""
    from movinet_convert import flatbuffer

    graph = stream_graph.build(SPEC, weights)
    relu6 = [
        op if op.kind != "HARD_SWISH" else Op("RELU6", op.inputs, op.outputs, {}, op.role)
        for op in graph.ops
    ]
    graph.ops[:] = relu6
    with patch.dict("movinet_convert.versions.RUNTIMES", {("RELU6", 1): "1.5.0"}):
        content = flatbuffer.serialize(graph, "t0", {})
    path = tmp_path / "other.tflite"
    path.write_bytes(content)
    for resolution in (32, 48):
        with pytest.raises(ParityError, match=r"not what the .tflite file, in LiteRT computes"):
            export(SPEC, str(path), {"float32": tmp_path / "a.tflite"}, resolution=resolution)
    assert not (tmp_path / "a.tflite").exists()


def test_secrets_of_an_address_appear_nowhere(tmp_path: Path) -> None:
    for address in ("https://me:secret@127.0.0.1:1/x.tflite?token=hidden", "https:/me:secret@h/x"):
        done = subprocess.run(
            [*MOVINET, "export", "t0-stream", "-w", address, "-o", str(tmp_path / "a.tflite")],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert "secret" not in done.stdout + done.stderr
        assert "hidden" not in done.stdout + done.stderr


def test_a_forced_file_keeps_its_mark(weights: Weights, tmp_path: Path) -> None:
    """Its own graph is what a second export is compared with, and that agrees."""
    folder = save_model(tmp_path / "hub", SPEC, weights, answer=1.01)
    first, second = tmp_path / "first.tflite", tmp_path / "second.tflite"
    export(SPEC, str(folder), {"float32": first}, resolution=32, force=True)
    (done,) = export(SPEC, str(first), {"float32": second})
    assert all(one.holds for one in done.parity)
    assert any(note.startswith("FORCED") for note in done.notes)
    assert ModelFile.read(second).metadata["parity"]["forced"]


def test_a_base_file_comes_back_with_its_own_frames(tmp_path: Path) -> None:
    spec = lookup("t0-base").at(32)
    first, second = tmp_path / "first.tflite", tmp_path / "second.tflite"
    export(spec, "random", {"float32": first}, resolution=32, frames=7)
    (done,) = export(lookup("t0-base"), str(first), {"float32": second})
    assert done.parity[0].against == "the .tflite file, in LiteRT"
    assert done.inspection.inputs[0].shape == (1, 7, 32, 32, 3)


@pytest.mark.parametrize(("noise", "holds"), [(0.546, False), (0.4335, True)])
def test_a_quantized_source_has_a_limit_too(noise: float, holds: bool) -> None:
    """5 and 7 dB of SQNR, around the limit of 6."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((16, 100)).astype(np.float32)
    found = truth + noise * rng.standard_normal(truth.shape).astype(np.float32)
    parity = compared(found, truth, "the file", 16, "noise", quantized=True)
    assert parity.sqnr_db == pytest.approx(5 if not holds else 7, abs=0.2)
    assert parity.holds == holds
    if not holds:
        assert "less than 6 dB" in parity.failure()


def test_an_export_asks_the_published_sources_and_knows_their_gate(
    server: WeightsServer,
    cache: Path,
    weights: Weights,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`movinet export t0-stream`, no more: a checkpoint that does not say what its gate is."""
    garden(tmp_path / "ckpt", weights)
    with tarfile.open(tmp_path / "t0.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "ckpt", arcname="t0")
    url = f"{server.url}/t0"
    rows = (
        Source("hub", f"{server.url}/gone", "h.tar.gz", "kinetics-600", "Apache-2.0", "fifth"),
        Source("garden", url, "t0.tar.gz", "kinetics-600", "Apache-2.0", "fifth"),
    )
    monkeypatch.setitem(SOURCES, "t0-stream", rows)
    out = tmp_path / "t0.tflite"
    words = ["export", "t0-stream", "-q", "float32", "-o", str(out), "--resolution", "32", "--json"]
    monkeypatch.setattr(sys, "argv", ["movinet", *words])
    server.replies = {}
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "404 Not Found" in capsys.readouterr().err
    assert not out.exists()
    server.replies = {"/t0": Reply((tmp_path / "t0.tar.gz").read_bytes())}
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    (about,) = json.loads(capsys.readouterr().out)
    assert any("gate fifth: published weights" in note for note in about["notes"])
    said = ModelFile.read(out).metadata
    assert (said["gate"], said["weights"]["source"]) == ("fifth", url)
    assert said["weights"]["licence"] == "Apache-2.0"


def test_each_transform_runs_once(tmp_path: Path) -> None:
    runs: list[str] = []

    def counted(variant: str, graph: Graph, known: Statistics) -> Graph:
        runs.append(variant)
        return TRANSFORMS[variant](graph, known)

    outputs = {name: tmp_path / f"{name}.tflite" for name in ("float32", "float16", "dynamic")}
    counting = {variant: partial(counted, variant) for variant in TRANSFORMS}
    with patch("movinet_convert.export.TRANSFORMS", counting):
        export(SPEC, "random:2", outputs, resolution=32, long_frames=4)
    assert runs == list(outputs)
