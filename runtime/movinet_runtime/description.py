"""The toolkit's description inside a model file, as typed values (docs/model-file.md).

It is checked here, once: what lies behind may trust it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

METADATA_VERSION = 1
FASTEST = 1000.0  # frames a second: more is no frame rate
MOST_TIMES = 1e6  # as often as others: no class is seen more
LONGEST_VALUE = 40  # characters of a wrong value that a message shows


@dataclass(frozen=True)
class Description:
    """What an exported file says about itself.

    Attributes:
        model: such as ``a0-stream``.
        variant: such as ``int8``.
        classes: number of logits.
        labels: in the order of the logits; None: it has no names for them.
        fps: frames a second that the model was trained at.
        weights: where they came from, and
        licence: under which licence they are; None: none is needed.
        gate: form of the hard sigmoid that they were trained with; None: there is none.
        forced: written although it failed against its source.
        horizon: frames that averages over time remember; 0: all.
        in_place: whether a state's output may share the memory of its input.
        trained_on: fingerprints of the files it was trained on; None: it does not say.
        thresholds: probability of each class from which on it is an answer, where classes do
            not exclude each other; None: they do.
        prior: classes that its answers take to be seen so many times as often as others.
    """

    model: str
    variant: str
    classes: int
    labels: tuple[str, ...] | None
    fps: float
    weights: str
    licence: str | None = None
    gate: str | None = None
    forced: bool = False
    horizon: int = 0
    in_place: bool = False
    trained_on: str | None = None
    thresholds: tuple[float, ...] | None = None
    prior: Mapping[str, float] | None = None


class NewerVersionError(ValueError):
    """Written by a newer toolkit."""


def parsed(raw: bytes) -> tuple[Mapping[str, Any], Description]:
    """Read a description; return its JSON as well.

    Raises:
        ValueError: one line that names the field, its value and what it should be.
    """
    try:
        fields = json.loads(raw, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError("cannot be read") from error
    if not isinstance(fields, dict):
        _refuse("the description", fields, "an object")
    version = _whole(fields, "version", least=1)
    if version > METADATA_VERSION:
        raise NewerVersionError(
            f"are of version {_shown(version)}, this runtime knows {METADATA_VERSION}: "
            "install a newer movinet-runtime"
        )
    weights = _required(fields, "weights")
    if not isinstance(weights, dict):
        _refuse("weights", weights, "an object")
    parity = fields.get("parity", {})
    if not isinstance(parity, dict):
        _refuse("parity", parity, "an object")
    classes = _whole(fields, "classes", least=1)
    return fields, Description(
        _text(fields, "model"),
        _text(fields, "variant"),
        classes,
        _labels(fields, classes),
        _rate(fields, "fps"),
        _text(weights, "source"),
        _text(weights, "licence") if weights.get("licence") is not None else None,
        _text(fields, "gate") if fields.get("gate") is not None else None,
        _flag(parity, "forced") if "forced" in parity else False,
        _whole(fields, "horizon", least=0) if "horizon" in fields else 0,
        _flag(fields, "in_place") if "in_place" in fields else False,
        _text(fields, "trained_on") if "trained_on" in fields else None,
        _thresholds(fields, classes),
        _prior(fields),
    )


def is_text(value: object) -> bool:
    """Whether this is text that can be printed: JSON can hold halves of characters."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _required(fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        raise ValueError(f"lack '{name}'")
    return fields[name]


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = _required(fields, name)
    if not is_text(value):
        _refuse(name, value, "text")
    return str(value)


def _whole(fields: Mapping[str, Any], name: str, least: int) -> int:
    value = _required(fields, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        _refuse(name, value, f"a whole number from {least} on")
    return int(value)


def _rate(fields: Mapping[str, Any], name: str) -> float:
    value = _required(fields, name)
    # Written so that NaN fails.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value <= FASTEST:
        _refuse(name, value, f"a number above 0, {FASTEST:g} at most")
    return float(value)


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields[name]
    if not isinstance(value, bool):
        _refuse(name, value, "true or false")
    return bool(value)


def _labels(fields: Mapping[str, Any], classes: int) -> tuple[str, ...] | None:
    value = fields.get("labels")
    if value is None:
        return None
    if not isinstance(value, list) or not all(map(is_text, value)):
        _refuse("labels", value, "a list of texts")
    if len(value) != classes:
        raise ValueError(f"have {len(value)} labels for {_shown(classes)} classes")
    return tuple(value)


def _thresholds(fields: Mapping[str, Any], classes: int) -> tuple[float, ...] | None:
    value = fields.get("thresholds")
    if value is None:
        return None
    if not isinstance(value, list) or not all(map(_is_probability, value)):
        _refuse("thresholds", value, "a list of numbers above 0, 1 at most")
    if len(value) != classes:
        raise ValueError(f"have {len(value)} thresholds for {_shown(classes)} classes")
    return tuple(map(float, value))


def _prior(fields: Mapping[str, Any]) -> dict[str, float] | None:
    value = fields.get("prior")
    if value is None:
        return None
    if not isinstance(value, dict) or not all(
        is_text(label) and _is_times(times) for label, times in value.items()
    ):
        _refuse("prior", value, f"an object of numbers above 0, {MOST_TIMES:,.0f} at most")
    return {label: float(times) for label, times in value.items()}


def _is_times(value: object) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MOST_TIMES
    )


def _is_probability(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def _refuse(name: str, value: object, wanted: str) -> NoReturn:
    raise ValueError(f"say that '{name}' is {_shown(value)}; it must be {wanted}")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "..."


def _no_number(text: str) -> NoReturn:
    """JSON has no NaN and no infinity, though Python reads them."""
    raise ValueError(f"{text} is no number")
