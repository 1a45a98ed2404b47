"""Bring weights from where they are published to canonical names, every tensor accounted for."""

import hashlib
import json
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from movinet_convert.errors import WeightsError
from movinet_convert.parameters import Array, Weights, parameters, random_weights
from movinet_models import embedded
from movinet_models.family import MODEL_IDS, ModelSpec, lookup
from movinet_runtime.errors import MissingPackageError
from movinet_runtime.files import written_whole

SUPPORTED = (
    "a Model Garden checkpoint (prefix, folder or .tar.gz), a hub SavedModel "
    "(folder, .tar.gz, handle or URL), a .keras or .npz file of this toolkit, 'embedded' "
    "(drawn figures), or 'random[:SEED]'"
)
EMBEDDED = "embedded"
ABOUT = "about"  # the entry of an .npz file that is no tensor
TRAINED = ("labels", "resolution", "clip_frames", "horizon")  # and what it says
CLASSIFIER = ("classifier/kernel", "classifier/bias")
RANDOM_CLASSES = 600

# Tokens of a source's tensor path that name a unit. The order matters where one path
# has two of them: head/project, classifier_head/head, _skip/_projection.
PARTS = (
    "stem",
    "project",
    "classifier",
    "head",
    "skip",
    "expansion",
    "feature",
    "se_reduce",
    "se_expand",
    "projection",
)
HUB_LAYER = re.compile(r"(?:block|\bb)(\d+)(?:_layer|/l)(\d+)/")
GARDEN_LAYER = re.compile(r"layer_with_weights-(\d+)/(?:layer_with_weights-(\d+)/)?(.*)")
# What training leaves in a checkpoint beside the model.
BESIDE_MODEL = re.compile(
    r"_CHECKPOINTABLE_OBJECT_GRAPH|optimizer|OPTIMIZER_SLOT|save_counter|global_step|keras_api/metrics"
)


@dataclass(frozen=True)
class LoadedWeights:
    """Weights in canonical names, and where they came from."""

    weights: Weights
    source: str
    sha256: str
    labels: list[str] | None = None
    resolution: int | None = None  # these three are known only of .keras and .npz files
    clip_frames: int | None = None
    horizon: int | None = None
    new_classifier: bool = False

    @property
    def classes(self) -> int:
        """Number of logits."""
        return int(self.weights["classifier/bias"].shape[0])


def load_weights(source: str, spec: ModelSpec, classes: int | None = None) -> LoadedWeights:
    """Read weights for a model from any supported source.

    Args:
        source: see ``SUPPORTED``.
        spec: the model that they must fit.
        classes: number of classes; None takes the source's. Another number keeps the
            backbone and starts the classifier anew (``new_classifier``).

    Raises:
        WeightsError: unreadable, or tensors missing, extra or misshapen.
        MissingPackageError: a URL without tensorflow-hub.
    """
    if re.fullmatch(r"random(:\d+)?", source):
        seed = int(source.partition(":")[2] or 0)
        weights = random_weights(spec, classes or RANDOM_CLASSES, seed)
        digest = _digest(weights[name].tobytes() for name in weights)
        return LoadedWeights(weights, f"random:{seed}", digest)
    if source.startswith(("http://", "https://")):
        return _from_path(_resolve(source), source, spec, classes)
    if source == EMBEDDED:
        return _from_path(embedded.WEIGHTS, source, spec, classes)
    return _from_path(Path(source), source, spec, classes)


def _from_path(path: Path, source: str, spec: ModelSpec, classes: int | None) -> LoadedWeights:
    if path.is_file() and path.name.endswith((".tar.gz", ".tgz")):
        digest = _digest(_chunks([path]))
        with _unpacked(path) as folder:
            found = _from_path(folder, source, spec, classes)
        return replace(found, sha256=digest)
    about: dict[str, Any] = {}
    if path.suffix == ".keras":
        tensors, about = _read_keras(path)
        files = [path]
    elif path.suffix == ".npz":
        tensors, about = _read_npz(path)
        files = [path]
    elif (path / "saved_model.pb").is_file():
        tensors, files = _read_checkpoint(path / "variables" / "variables", by_name=True)
    else:
        tensors, files = _read_checkpoint(_prefix(path, source), by_name=False)
    weights, new = fit(tensors, spec, classes, source)
    return LoadedWeights(weights, source, _digest(_chunks(files)), new_classifier=new, **about)


def fit(
    tensors: Mapping[str, np.ndarray[Any, Any]], spec: ModelSpec, classes: int | None, source: str
) -> tuple[Weights, bool]:
    """Return tensors in the model's shapes, and whether the classifier is new.

    Layouts differ between 2-D and 3-D kernels only by dimensions of one, so a kernel
    fits if its shape without them does (a stream checkpoint trained as 3d_2plus1d).

    Raises:
        WeightsError: with all missing, extra and misshapen tensors as attributes.
    """
    numbered, tensors = tensors, _with_layer_names(tensors, spec)
    bias = tensors.get(CLASSIFIER[1])
    found_classes = RANDOM_CLASSES if bias is None else int(bias.size)
    expected = parameters(spec, classes or found_classes)
    replaced = set(CLASSIFIER) if classes not in (None, found_classes) else set()
    missing = [name for name in expected if name not in tensors and name not in replaced]
    extra = [name for name in tensors if name not in expected]
    misshapen = [
        f"{name} {tensors[name].shape} instead of {shape}"
        for name, shape in expected.items()
        if name in tensors and name not in replaced and _core(tensors[name].shape) != _core(shape)
    ]
    if missing or extra or misshapen:
        raise _misfit(source, spec, numbered, missing, extra, misshapen)
    not_finite = [n for n in expected if n in tensors and not np.isfinite(tensors[n]).all()]
    if not_finite:
        raise WeightsError(f"{source}: NaN or infinite values in {_some(not_finite)}")
    weights = {
        name: np.asarray(tensors[name], np.float32).reshape(shape)
        for name, shape in expected.items()
        if name not in replaced
    }
    if replaced:
        weights |= _new_classifier(expected)
    return weights, bool(replaced)


def _misfit(
    source: str,
    spec: ModelSpec,
    tensors: Mapping[str, np.ndarray[Any, Any]],
    missing: list[str],
    extra: list[str],
    misshapen: list[str],
) -> WeightsError:
    counted = ((missing, "missing"), (extra, "extra"), (misshapen, "misshapen"))
    parts = [f"{len(names)} {what}: {_some(names)}" for names, what in counted if names]
    message = f"{source} does not fit {spec.id}: {'; '.join(parts)}"
    fits = [other for other in MODEL_IDS if other != spec.id and _is(tensors, lookup(other))]
    if fits:
        message += f" (these are weights of {' or '.join(fits)})"
    return WeightsError(message, missing, extra, misshapen)


def _is(tensors: Mapping[str, np.ndarray[Any, Any]], spec: ModelSpec) -> bool:
    tensors = _with_layer_names(tensors, spec)
    bias = tensors.get(CLASSIFIER[1])
    expected = parameters(spec, 1 if bias is None else int(bias.size))
    return expected.keys() == tensors.keys() and all(
        _core(tensors[name].shape) == _core(shape) for name, shape in expected.items()
    )


def _new_classifier(expected: Mapping[str, tuple[int, ...]]) -> Weights:
    """Glorot-uniform kernel, zero bias; seeded, so that an export repeats."""
    kernel, bias = (expected[name] for name in CLASSIFIER)
    limit = np.sqrt(6 / (kernel[2] + kernel[3]))
    values = np.random.default_rng(0).uniform(-limit, limit, kernel)
    return {CLASSIFIER[0]: values.astype(np.float32), CLASSIFIER[1]: np.zeros(bias, np.float32)}


def _read_checkpoint(prefix: Path, by_name: bool) -> tuple[dict[str, Array], list[Path]]:
    """Read a TensorFlow checkpoint; ``by_name``: by variable names, else by object paths.

    Hub files keep variables in a flat list, so only their names tell them apart; in
    Model Garden checkpoints names repeat, and only paths do.
    """

    from movinet_convert.backend import graph_pb, tf

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        graph = graph_pb.TrackableObjectGraph()
        graph.ParseFromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        keys = [key for key in reader.get_variable_to_shape_map() if not BESIDE_MODEL.search(key)]
        names = {
            attribute.checkpoint_key: attribute.full_name
            for node in graph.nodes
            for attribute in node.attributes
        }
        tensors: dict[str, Array] = {}
        for key in sorted(keys):
            name = hub_name(names[key]) if by_name else garden_name(key)
            if name in tensors:
                raise WeightsError(f"{prefix}: two tensors are '{name}'; the second is {key}")
            tensors[name] = reader.get_tensor(key)
    except (tf.errors.OpError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"cannot read the checkpoint {prefix}: {reason}") from error
    return tensors, sorted(prefix.parent.glob(f"{prefix.name}.data-*"))


def hub_name(name: str) -> str:
    """Return the canonical name of a variable, in either generation of published names."""
    layer = HUB_LAYER.search(name)
    prefix = f"block{layer[1]}_layer{layer[2]}/" if layer else ""
    return _canonical(prefix, name[layer.end() :] if layer else name)


def garden_name(key: str) -> str:
    """Return the canonical name of a checkpoint key, with the layer's number for its name.

    The backbone counts the stem as 0, bottlenecks as 1..n, the projection as n+1.
    """
    match = GARDEN_LAYER.search(key)
    if match is None:
        return key
    path = match[3].removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").replace("/_", "/").lstrip("_")
    in_layer = match[2] is not None and path.split("/")[0] not in ("stem", "project")
    return _canonical(f"#{match[2]}/" if in_layer else "", path)


def _canonical(prefix: str, path: str) -> str:
    tokens = path.split("/")
    leaf = tokens[-1].replace("depthwise_kernel", "kernel")
    if leaf == "scale":
        return prefix + ("positional_scale" if "pos_encoding" in tokens else "scale")
    part = next((part for part in PARTS if part in tokens), None)
    if part is None:
        return prefix + path
    if part == "feature" and any("temporal" in token for token in tokens):
        part = "temporal"
    return f"{prefix}{part}/{leaf}"


def _with_layer_names(
    tensors: Mapping[str, np.ndarray[Any, Any]], spec: ModelSpec
) -> dict[str, np.ndarray[Any, Any]]:
    numbers = {f"#{i}": layer.name for i, layer in enumerate(spec.layers(), start=1)}
    renamed = {}
    for name, tensor in tensors.items():
        head, slash, tail = name.partition("/")
        renamed[numbers.get(head, head) + slash + tail] = tensor
    return renamed


def _read_keras(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return tensors, and what else the file says (fields of LoadedWeights)."""
    if not path.is_file():
        raise WeightsError(f"no weights at {path}; supported: {SUPPORTED}")
    from movinet_convert.backend import keras
    from movinet_convert.network import MoViNet

    try:
        network = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its readers raise
        reason = str(error).splitlines()[0]
        raise WeightsError(f"cannot read {path} as a .keras file: {reason}") from error
    if not isinstance(network, MoViNet):
        raise WeightsError(f"{path} is a Keras model, but not a MoViNet of this toolkit")
    values = {name: np.asarray(value) for name, value in network.parameters().items()}
    about = {
        "labels": network.labels,
        "resolution": network.spec.resolution,
        "clip_frames": network.clip_frames,
        "horizon": network.horizon,
    }
    return values, about


def _read_npz(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read what :func:`save_npz` wrote."""
    try:
        with np.load(path) as file:
            tensors = {name: file[name] for name in file.files}
        about = json.loads(str(tensors.pop(ABOUT)))
        known = {name: about[name] for name in TRAINED}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(f"cannot read {path} as weights of this toolkit: {error}") from error
    return {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()}, known


def save_npz(loaded: LoadedWeights, path: Path) -> None:
    """Write weights in half the size: kernels in float16, all else as it is.

    Raises:
        UsageError: the file cannot be written.
    """
    about = {name: getattr(loaded, name) for name in TRAINED}
    arrays = {
        name: tensor.astype(np.float16) if name.endswith("/kernel") else tensor
        for name, tensor in loaded.weights.items()
    }
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{ABOUT: np.array(json.dumps(about))}, **arrays)  # type: ignore[arg-type]


def _prefix(path: Path, source: str) -> Path:
    """Find the checkpoint that a prefix or a folder means."""
    if Path(f"{path}.index").is_file():
        return path
    if not path.exists():
        raise WeightsError(f"no weights at {source}; supported: {SUPPORTED}")
    found = sorted(path.rglob("*.index")) if path.is_dir() else []
    saved_models = sorted(path.rglob("saved_model.pb")) if path.is_dir() else []
    if len(found) != 1 or saved_models:
        what = f"{len(found)} checkpoints" if path.is_dir() else "no weights"
        raise WeightsError(f"{source} holds {what}; name one of: {SUPPORTED}")
    return found[0].with_suffix("")


@contextmanager
def _unpacked(archive: Path) -> Iterator[Path]:
    """Unpack a .tar.gz for the time of the block; members that leave the folder are refused."""
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
        try:
            with tarfile.open(archive, "r:gz") as tar:
                tar.extractall(folder, filter="data")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise WeightsError(f"cannot unpack {archive}: {error}") from error
        yield Path(folder)


def _resolve(url: str) -> Path:
    """Download a hub handle or URL (cached) and return its folder."""
    try:
        import tensorflow_hub as hub
    except ImportError as error:
        raise MissingPackageError(
            f"{url} needs tensorflow-hub: pip install 'movinet-convert[hub]'"
        ) from error
    try:
        return Path(hub.resolve(url))
    except Exception as error:  # the resolvers raise whatever urllib and tarfile raise
        raise WeightsError(f"cannot download {url}: {str(error).splitlines()[0]}") from error


def _core(shape: Iterable[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _some(names: list[str], limit: int = 4) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _chunks(files: Iterable[Path]) -> Iterator[bytes]:
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                yield chunk


def _digest(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
