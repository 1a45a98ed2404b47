"""Read weights from any source, fit them to a model, and say where they came from."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from movinet_convert.parameters import DEFAULT_GATE, Array, random_weights
from movinet_convert.sources import garden, hub, keras, tflite, torch
from movinet_convert.sources.fit import RANDOM_CLASSES, fit
from movinet_convert.sources.loaded import (
    NOT_STATED,
    LoadedWeights,
    Origin,
    Original,
    Pictures,
    Read,
    choose_gate,
)
from movinet_models import embedded
from movinet_models.archive import unpacked
from movinet_models.errors import WeightsError
from movinet_models.family import Gate, ModelSpec
from movinet_models.registry import LICENCE, by_sha256
from movinet_runtime.errors import MovinetError

SUPPORTED = (
    "a Model Garden checkpoint (prefix, folder or .tar.gz), a hub SavedModel (folder or "
    ".tar.gz), a MoViNet .tflite, a PyTorch state dict (.pth), a .keras or .npz file of this "
    "toolkit, a URL of one of them, 'embedded' (drawn figures), or 'random[:SEED]'"
)
EMBEDDED = "embedded"
RANDOM = re.compile(r"random(?::(\d+))?")
ARCHIVES = (".tar.gz", ".tgz")
READERS = (tflite, keras, torch, hub, garden)


def load_weights(
    source: str,
    spec: ModelSpec,
    classes: int | None = None,
    gate: Gate | None = None,
    origin: Origin | None = None,
) -> LoadedWeights:
    """Read weights for a model from any supported source.

    Args:
        source: see ``SUPPORTED``.
        spec: the model that they must fit.
        classes: number of classes; None takes the source's. Another number keeps the
            backbone and starts the classifier anew (``new_classifier``).
        gate: the form of the hard sigmoid; None finds it
            (:func:`movinet_convert.sources.loaded.choose_gate`).
        origin: where the file was published, if it is known.

    Raises:
        WeightsError: unreadable, or tensors missing, extra or misshapen.
    """
    if seed := RANDOM.fullmatch(source):
        return _random(spec, classes, int(seed[1] or 0), gate)
    path = embedded.WEIGHTS if source == EMBEDDED else Path(source)
    with opened(path) as inner:
        shown = source if origin is None else origin.url
        read = _read(inner, spec, shown)
        weights, new = fit(read.tensors, spec, classes, shown)
        digest = _digest(_chunks([path] if inner != path else read.files))
    if (origin is None or origin.licence == NOT_STATED) and (row := by_sha256(digest)):
        origin = Origin(row.url, row.licence, row.gate)
    chosen, why = choose_gate(spec, gate, read, origin, source)
    original = read.original
    if original is not None and original.from_folder and inner != path:
        original = replace(original, logits=_packed(path, spec))
    licence = read.licence or (LICENCE if source == EMBEDDED else NOT_STATED)
    return LoadedWeights(
        weights,
        source if origin is None else origin.url,
        digest,
        chosen,
        why,
        licence if origin is None or origin.licence == NOT_STATED else origin.licence,
        read.labels,
        read.resolution,
        read.clip_frames,
        read.horizon,
        read.trained_on,
        None if new else read.thresholds,
        None if new else read.prior,
        new,
        original,
        read.int8_share,
        read.ranges,
        read.folded,
        read.forced,
        read.notes,
    )


def _random(spec: ModelSpec, classes: int | None, seed: int, gate: Gate | None) -> LoadedWeights:
    weights = random_weights(spec, classes or RANDOM_CLASSES, seed)
    digest = _digest(weights[name].tobytes() for name in weights)
    chosen, why = choose_gate(spec, gate, Read({}, (), DEFAULT_GATE, "untrained weights"), None, "")
    return LoadedWeights(weights, f"random:{seed}", digest, chosen, why, licence=None)


def _read(path: Path, spec: ModelSpec, source: str) -> Read:
    """Read a path; messages name the source, which may be an archive or an address.

    The readers meet whatever someone else wrote, and libraries that raise what they like: all
    that goes wrong in them is the file's fault.
    """
    try:
        for reader in READERS:
            if reader.reads(path):
                found: Read = reader.read(path, spec)
                return found
    except MovinetError as error:
        error.args = (str(error).replace(f"{path}/", f"{source}: ").replace(str(path), source),)
        raise
    except Exception as error:
        raise WeightsError(f"cannot read {source}: {reason(error)}") from error
    raise WeightsError(f"{_nothing(path, source)}; supported: {SUPPORTED}")


def _nothing(path: Path, source: str) -> str:
    """Say what is there instead of one source of weights."""
    if not path.exists():
        return f"no weights at {source}"
    if path.is_file():
        return f"{source} holds no weights"
    found = [file for file in path.rglob("*") if file.is_file()]
    counts = {
        "checkpoints": sum(file.suffix == ".index" for file in found),
        "SavedModels": sum(file.name == hub.GRAPH for file in found),
        ".tflite files": sum(file.suffix == tflite.ENDING for file in found),
    }
    several = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"{source} holds {several}: name one" if several else f"{source} holds no weights"


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Yield the path, or for the time of the block the folder that an archive holds."""
    if path.is_file() and path.name.lower().endswith(ARCHIVES):
        with unpacked(path) as folder:
            yield folder
    else:
        yield path


def _packed(archive: Path, spec: ModelSpec) -> Callable[[Pictures], Array]:
    """Run an original whose folder is gone by then."""

    def logits(pictures: Pictures) -> Array:
        with opened(archive) as folder:
            original: Original | None = _read(folder, spec, str(archive)).original
            if original is None:
                raise WeightsError(f"{archive} has changed while it was read")
            return original.logits(pictures)

    return logits


def reason(error: Exception) -> str:
    """Return an error's first line, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


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
