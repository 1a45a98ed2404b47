"""Reading weights: every layout that is published, every tensor accounted for."""

import functools
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from movinet_convert.backend import tf
from movinet_convert.network import load_into_network
from movinet_convert.parameters import Weights, random_weights
from movinet_convert.sources import load_weights
from movinet_convert.sources.published import find
from movinet_models.errors import FetchError, WeightsError
from movinet_models.family import ModelSpec, lookup
from tests.reference import reference_name

SPEC = lookup("a0-stream").at(64)
CLASSES = 7

GARDEN_UNITS = {
    "stem": "_stem",
    "expansion": "_expansion",
    "feature": "_feature",
    "temporal": "_feature",
    "se_reduce": "_attention/_se_reduce",
    "se_expand": "_attention/_se_expand",
    "projection": "_projection",
    "skip": "_skip/_projection",
    "project": "_project",
    "head": "_head",
    "classifier": "_classifier",
}


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights(SPEC, CLASSES, seed=3)


def garden_path(name: str, spec: ModelSpec) -> str:
    """The object path of a tensor in a Model Garden checkpoint (2plus1d layout)."""
    layers = [layer.name for layer in spec.layers()]
    *place, leaf = name.split("/")
    if place[0] in layers:
        number, part = layers.index(place[0]) + 1, place[1] if len(place) > 1 else None
    else:
        number, part = {"stem": 0, "project": len(layers) + 1}.get(place[0], -1), place[0]
    root = (
        "model/layer_with_weights-1"
        if number < 0
        else f"model/layer_with_weights-0/layer_with_weights-{number}"
    )
    if part is None:
        return f"{root}/_mobile_bottleneck/_rezero/scale"
    temporal = "_temporal" if part == "temporal" else ""
    if leaf in ("kernel", "bias"):
        leaf = "depthwise_kernel" if part in ("feature", "temporal") else leaf
        return f"{root}/{GARDEN_UNITS[part]}/_conv{temporal}/_conv/{leaf}"
    return f"{root}/{GARDEN_UNITS[part]}/_batch_norm{temporal}/{leaf}"


def write_checkpoint(prefix: Path, by_path: dict[str, np.ndarray]) -> Path:
    """Write a checkpoint whose keys are the given object paths."""
    root = tf.train.Checkpoint()
    for path, value in by_path.items():
        *parents, leaf = path.split("/")
        node = root
        for parent in parents:
            if not hasattr(node, parent):
                setattr(node, parent, tf.Module())
            node = getattr(node, parent)
        setattr(node, leaf, tf.Variable(value))
    root.write(str(prefix))
    return prefix


def garden_checkpoint(folder: Path, weights: Weights) -> Path:
    return write_checkpoint(
        folder / "ckpt-1", {garden_path(name, SPEC): value for name, value in weights.items()}
    )


def assert_same(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_garden_checkpoint_as_prefix_folder_and_archive(tmp_path: Path, weights: Weights) -> None:
    folder = tmp_path / "movinet_a0_stream"
    folder.mkdir()
    prefix = garden_checkpoint(folder, weights)
    archive = tmp_path / "movinet_a0_stream.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname="movinet_a0_stream")
    for source in (prefix, folder, archive):
        loaded = load_weights(str(source), SPEC)
        assert_same(loaded.weights, weights)
        assert loaded.classes == CLASSES
        assert not loaded.new_classifier
        assert len(loaded.sha256) == 64


def test_optimizer_slots_are_not_weights(tmp_path: Path, weights: Weights) -> None:
    paths = {garden_path(name, SPEC): value for name, value in weights.items()}
    paths["optimizer/iter"] = np.array(7)
    paths["optimizer/momentum"] = np.zeros((8, 8), np.float32)
    prefix = write_checkpoint(tmp_path / "ckpt", paths)
    assert_same(load_weights(str(prefix), SPEC).weights, weights)


def test_kernels_trained_as_3d_2plus1d_load_as_2plus1d(tmp_path: Path, weights: Weights) -> None:
    def as_3d(name: str, value: np.ndarray) -> np.ndarray:
        if not name.endswith("kernel"):
            return value
        if name.endswith("feature/kernel"):  # (kh, kw, c, 1) -> (1, kh, kw, 1, c)
            return value.transpose(0, 1, 3, 2)[None]
        if name.endswith("temporal/kernel"):  # (kt, 1, c, 1) -> (kt, 1, 1, 1, c)
            return value.reshape(value.shape[0], 1, 1, 1, -1)
        return value[None]

    paths = {
        garden_path(name, SPEC)
        .replace("/_conv/_conv/", "/_conv/")
        .replace("_temporal/_conv/", "_temporal/")
        .replace("depthwise_kernel", "kernel"): as_3d(name, value)
        for name, value in weights.items()
    }
    prefix = write_checkpoint(tmp_path / "ckpt", paths)
    assert_same(load_weights(str(prefix), SPEC).weights, weights)


def hub_model(folder: Path, weights: Weights, published: bool) -> Path:
    """A SavedModel with the variable names of the published files, or of today's exporter."""
    module = tf.Module()
    module.variables_ = []
    for name, value in weights.items():
        variable_name = reference_name(name, streams=True)
        if published:
            block, slash, rest = variable_name.partition("/")
            if block.startswith("block"):
                variable_name = block.replace("block", "b").replace("_layer", "/l") + slash + rest
        module.variables_.append(tf.Variable(value, name=variable_name))
    tf.saved_model.save(module, str(folder))
    return folder


@pytest.mark.parametrize("published", [True, False])
def test_hub_saved_model(tmp_path: Path, weights: Weights, published: bool) -> None:
    folder = hub_model(tmp_path / "hub", weights, published)
    assert_same(load_weights(str(folder), SPEC).weights, weights)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the URL under which a real server on loopback gives it out."""
    root = tmp_path / "served"
    root.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def translate_path(self, path: str) -> str:
            return super().translate_path(path.split("?")[0])

    handler = functools.partial(Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield root, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_hub_handle_is_downloaded(
    tmp_path: Path, served: tuple[Path, str], weights: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOVINET_CACHE", str(tmp_path / "cache"))
    folder = hub_model(tmp_path / "hub", weights, published=True)
    root, url = served
    with tarfile.open(root / "a0", "w:gz") as tar:
        tar.add(folder, arcname=".")
    source, origin = find(f"{url}/a0?token=hidden", SPEC)
    loaded = load_weights(source, SPEC, origin=origin)
    assert_same(loaded.weights, weights)
    assert loaded.source.startswith(f"{url}/a0")
    assert "hidden" not in loaded.source
    assert loaded.licence == "not stated"

    with pytest.raises(FetchError, match="404"):
        find(f"{url}/nothing-here", SPEC)


def test_keras_file_keeps_labels_and_resolution(tmp_path: Path, weights: Weights) -> None:
    labels = [f"class «{i}»" for i in range(CLASSES)]
    path = tmp_path / "mine.keras"
    load_into_network(SPEC, weights, labels).save(path)
    loaded = load_weights(str(path), lookup("a0-stream"))
    assert_same(loaded.weights, weights)
    assert loaded.labels == labels
    assert loaded.resolution == 64


def test_another_class_count_keeps_the_backbone(tmp_path: Path, weights: Weights) -> None:
    prefix = garden_checkpoint(tmp_path, weights)
    loaded = load_weights(str(prefix), SPEC, classes=3)
    assert loaded.new_classifier
    assert loaded.weights["classifier/kernel"].shape == (1, 1, 2048, 3)
    np.testing.assert_array_equal(loaded.weights["head/kernel"], weights["head/kernel"])


def test_misfits_are_listed_in_one_error(tmp_path: Path, weights: Weights) -> None:
    broken = dict(weights)
    del broken["stem/kernel"]
    broken["head/bias"] = np.zeros(5, np.float32)
    broken["block9_layer0/scale"] = np.zeros((), np.float32)
    folder = hub_model(tmp_path / "hub", broken, published=False)
    with pytest.raises(WeightsError) as caught:
        load_weights(str(folder), SPEC)
    assert caught.value.missing == ["stem/kernel"]
    assert caught.value.extra == ["block9_layer0/scale"]
    assert caught.value.misshapen == ["head/bias (5,) instead of (2048,)"]
    assert "\n" not in str(caught.value)
    for part in ("1 missing: stem/kernel", "1 extra: block9_layer0/scale", "1 misshapen"):
        assert part in str(caught.value)


def test_weights_of_another_model_are_recognised(tmp_path: Path, weights: Weights) -> None:
    prefix = garden_checkpoint(tmp_path, weights)
    with pytest.raises(WeightsError, match=r"these are weights of a0-stream"):
        load_weights(str(prefix), lookup("a1-stream"))


def test_nan_is_refused(tmp_path: Path, weights: Weights) -> None:
    broken = weights | {"head/bias": np.full(2048, np.nan, np.float32)}
    prefix = garden_checkpoint(tmp_path, broken)
    with pytest.raises(WeightsError, match="NaN or infinite values in head/bias"):
        load_weights(str(prefix), SPEC)


def test_unreadable_sources_say_what_is_supported(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "several").mkdir()
    for name in ("a", "b"):
        (tmp_path / "several" / f"{name}.tflite").write_bytes(b"x")
    (tmp_path / "bad.keras").write_bytes(b"not a zip")
    (tmp_path / "bad.tar.gz").write_bytes(b"not a tar")
    (tmp_path / "bad.index").write_bytes(b"not an index")
    for source, message in {
        "nowhere": "no weights at",
        "nowhere.keras": "no weights at",
        "empty": "holds no weights",
        "several": "holds 2 .tflite files: name one",
        "bad.keras": "cannot read",
        "bad.tar.gz": "cannot unpack",
        "bad": "cannot read",
    }.items():
        with pytest.raises(WeightsError, match=message) as caught:
            load_weights(str(tmp_path / source), SPEC)
        assert "\n" not in str(caught.value)


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("../escaped.txt")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(WeightsError, match="cannot unpack"):
        load_weights(str(archive), SPEC)
    assert not (tmp_path.parent / "escaped.txt").exists()
