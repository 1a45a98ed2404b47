"""Fit tensors from outside to a model: names and shapes must all agree."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_convert.parameters import Weights, parameters
from movinet_models.errors import NotFiniteError, WeightsError
from movinet_models.family import MODEL_IDS, ModelSpec, lookup

CLASSIFIER = ("classifier/kernel", "classifier/bias")
RANDOM_CLASSES = 600
Tensors = Mapping[str, NDArray[Any]]


def fit(
    tensors: Tensors, spec: ModelSpec, classes: int | None, source: str
) -> tuple[Weights, bool]:
    """Return tensors in the model's shapes, and whether the classifier is new.

    Layouts differ between 2-D and 3-D kernels only by dimensions of one, so a kernel
    fits if its shape without them does (a stream checkpoint trained as 3d_2plus1d).

    Raises:
        WeightsError: with all missing, extra and misshapen tensors as attributes.
        NotFiniteError: NaN or infinite values.
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
        raise NotFiniteError(f"{source}: NaN or infinite values in {some(not_finite)}")
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
    tensors: Tensors,
    missing: list[str],
    extra: list[str],
    misshapen: list[str],
) -> WeightsError:
    fits = [other for other in MODEL_IDS if other != spec.id and _is(tensors, lookup(other))]
    if fits:
        parts = [f"these are weights of {' or '.join(fits)}"]
    else:
        counted = ((missing, "missing"), (extra, "extra"), (misshapen, "misshapen"))
        parts = [f"{len(names)} {what}: {some(names)}" for names, what in counted if names]
    message = f"{source} does not fit {spec.id}: {'; '.join(parts)}"
    return WeightsError(message, missing, extra, misshapen)


def _is(tensors: Tensors, spec: ModelSpec) -> bool:
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


def _with_layer_names(tensors: Tensors, spec: ModelSpec) -> dict[str, NDArray[Any]]:
    numbers = {f"#{i}": layer.name for i, layer in enumerate(spec.layers(), start=1)}
    renamed = {}
    for name, tensor in tensors.items():
        head, slash, tail = name.partition("/")
        renamed[numbers.get(head, head) + slash + tail] = tensor
    return renamed


def _core(shape: Iterable[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def some(names: list[str], limit: int = 4) -> str:
    """Name a few of them, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
