"""Weights that a user names without having them: published ones, and those at an address."""

from collections.abc import Callable
from pathlib import Path

from movinet_convert.sources.load import load_weights
from movinet_convert.sources.loaded import Origin
from movinet_models.errors import WeightsError
from movinet_models.family import ModelSpec, lookup
from movinet_models.fetch import Fetched, Progress, download, is_url, pull, silent
from movinet_models.registry import DATASETS, KINETICS_400, KINETICS_600

CLASSES = {KINETICS_600: 600, KINETICS_400: 400}


def find(
    weights: str | None, spec: ModelSpec, progress: Progress = silent
) -> tuple[str, Origin | None]:
    """Return what :func:`movinet_convert.sources.load_weights` takes, downloaded if need be.

    Args:
        weights: a source; a data set (``kinetics-400``) means the model's published weights of
            it, and None those of Kinetics-600.
        spec: the model.
        progress: called with what is downloaded, bytes so far, and bytes in all.

    Raises:
        FetchError: nothing answers, or something else than what was asked for.
    """
    if weights is None or weights in DATASETS:
        return _known(pull(spec.id, weights or KINETICS_600, progress=progress))
    if is_url(weights):
        return _known(download(weights, progress=progress))
    return weights, None


def shown(report: Callable[[str], None]) -> Progress:
    """Turn a report of steps into one of downloads, a line for each megabyte at the most."""
    last = ""

    def progress(what: str, done: int, total: int | None) -> None:
        nonlocal last
        size = "" if total is None else f" of {total / 1e6:.0f}"
        line = f"downloading {what}" + (f": {done / 1e6:.0f}{size} MB" if done else "")
        if line != last:
            report(line)
        last = line

    return progress


def check(path: Path, model_id: str, dataset: str) -> None:
    """Refuse a file whose tensors or classes are not those of a model's published weights.

    Raises:
        WeightsError: unreadable, another model's, or of another data set.
    """
    loaded = load_weights(str(path), lookup(model_id))
    if loaded.classes != CLASSES[dataset]:
        raise WeightsError(
            f"it has {loaded.classes} classes, the weights of {dataset} have {CLASSES[dataset]}"
        )


def _known(fetched: Fetched) -> tuple[str, Origin]:
    row = fetched.source
    gate = None if row is None else row.gate
    return str(fetched.path), Origin(fetched.url, fetched.licence, gate)
