"""TOML tables that are read key by key, and errors that name the line.

tomllib knows no lines once a file is read, so that the line of a key is found by reading the
file again up to each line: the first part of it that holds the key ends with its value.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from movinet_runtime.description import is_text
from movinet_runtime.errors import ConfigError, MissingPackageError

Keys = tuple[str | int, ...]
ENDLESS = 1e9  # of a number that has no limit but to be one
LONGEST_VALUE = 40  # characters of a wrong value that a message shows


class Document:
    """A TOML file.

    Raises:
        ConfigError: missing, unreadable, no TOML; names the line where there is one.
        MissingPackageError: this Python has no TOML.
    """

    def __init__(self, path: Path) -> None:
        try:
            import tomllib
        except ImportError as error:
            raise MissingPackageError("movinet watch needs Python 3.11 or later") from error
        self._loads: Callable[[str], dict[str, Any]] = tomllib.loads
        self.path = path
        try:
            self.text = path.read_text("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ConfigError(f"cannot read {path}: it is not UTF-8") from error
        except OSError as error:
            raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
        try:
            self.values = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is no TOML: {error}") from None
        self.table = Table(self, self.values)

    def line(self, keys: Keys) -> int:
        """Return the line, from 1, where a key, a table or an entry of a list begins.

        Of what is not there: where the table begins that it would be in.
        """
        lines = self.text.splitlines(keepends=True)
        while keys:
            begin = 0  # of what is not yet whole: a list may go over several lines
            for end in range(1, len(lines) + 1):
                try:
                    part = self._loads("".join(lines[:end]))
                except ValueError:
                    continue
                if _holds(part, keys):
                    return begin + 1
                begin = end
            keys = keys[:-1]
        return 1

    def refuse(self, keys: Keys, what: str) -> NoReturn:
        """Raise a ConfigError that names line and key."""
        name = ".".join(str(key) for key in keys)
        raise ConfigError(f"{self.path}:{self.line(keys)}: {name}{': ' if name else ''}{what}")


def _holds(value: Any, keys: Keys) -> bool:
    for key in keys:
        try:
            value = value[key]
        except (LookupError, TypeError):
            return False
    return True


class Table:
    """One table. What is read from it is known, what is left at the end is refused.

    Args:
        document: that it is in.
        values: of it.
        keys: where it is.
        base: what it says of keys that are not here.
    """

    def __init__(
        self,
        document: Document,
        values: Mapping[str, Any],
        keys: Keys = (),
        base: "Table | None" = None,
    ) -> None:
        self.document, self.values, self.keys, self._base = document, values, keys, base
        self._known: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not None

    def _find(self, key: str) -> tuple[Any, Keys] | None:
        self._known.add(key)
        if key in self.values:
            return self.values[key], (*self.keys, key)
        return None if self._base is None else self._base._find(key)

    def refuse(self, key: str, what: str) -> NoReturn:
        """Refuse the value of a key, or that there is none."""
        found = self._find(key)
        self.document.refuse((*self.keys, key) if found is None else found[1], what)

    def refuse_value(self, key: str, value: Any, wanted: str) -> NoReturn:
        """Say what a key's value is, and what it must be."""
        self.refuse(key, f"is {_shown(value)}; it must be {wanted}")

    def raw(self, key: str) -> Any:
        """Return what is there, of any type; None: nothing."""
        found = self._find(key)
        return None if found is None else found[0]

    def needed(self, *keys: str) -> None:
        """Refuse a table that lacks a key."""
        for key in keys:
            if key not in self:
                self.refuse(key, "is missing")

    def text(self, key: str, default: str = "", choices: Sequence[str] = ()) -> str:
        """Return a text; one of the choices, where there are some."""
        value = self.raw(key)
        if value is None:
            return default
        if not is_text(value) or not value:
            self.refuse_value(key, value, "a text")
        if choices and value not in choices:
            self.refuse_value(key, value, "one of " + ", ".join(choices))
        return str(value)

    def texts(self, key: str, default: Sequence[str] = ()) -> tuple[str, ...]:
        """Return a list of texts."""
        value = self.raw(key)
        if value is None:
            return tuple(default)
        if not isinstance(value, list) or not all(is_text(one) and one for one in value):
            self.refuse_value(key, value, "a list of texts")
        return tuple(value)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.refuse_value(key, value, "true or false")
        return value

    def whole(self, key: str, default: int, low: int = 0, high: int = 2**31) -> int:
        """Return a whole number from ``low`` to ``high``."""
        value = self.raw(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            limits = f"from {low} on" if high == 2**31 else f"from {low} to {high}"
            self.refuse_value(key, value, f"a whole number {limits}")
        return value

    def number(
        self, key: str, default: float, low: float = 0.0, high: float = ENDLESS, above: bool = False
    ) -> float:
        """Return a number from ``low`` (or above it) to ``high``."""
        value = self.raw(key)
        if value is None:
            return default
        if not _is_number(value, low, high) or (above and value == low):
            least = f"above {low:g}" if above else f"from {low:g} on"
            most = "" if high == ENDLESS else f", {high:g} at most"
            self.refuse_value(key, value, f"a number {least}{most}")
        return float(value)

    def numbers(self, key: str, count: int, low: float, high: float) -> tuple[float, ...]:
        """Return a list of so many numbers; empty: there is none."""
        value = self.raw(key)
        if value is None:
            return ()
        whole = isinstance(value, list) and len(value) == count
        if not whole or not all(_is_number(one, low, high) for one in value):
            self.refuse_value(key, value, f"{count} numbers from {low:g} to {high:g}")
        return tuple(float(one) for one in value)

    def file(self, key: str) -> Path | None:
        """Return the path of a file that must exist, if one is given."""
        if key not in self:
            return None
        path = self.path(key)
        if not self.finds(key, path.is_file):
            self.refuse(key, f"there is no file {path}")
        return path

    def finds(self, key: str, look: Callable[[], bool]) -> bool:
        """Return what a look at the disk says; refuse the key where it cannot be looked."""
        try:
            return look()
        except OSError as error:
            self.refuse(key, f"cannot look there: {error.strerror or error}")

    def path(self, key: str) -> Path:
        """Return a path that must be given; relative ones begin at the document."""
        self.needed(key)
        try:
            return self.document.path.absolute().parent / Path(self.text(key)).expanduser()
        except RuntimeError as error:
            self.refuse(key, f"is no path: {error}")

    def table(self, key: str, base: "Table | None" = None) -> "Table":
        """Return the table under a key, an empty one where there is none."""
        value, keys = self._find(key) or ({}, (*self.keys, key))
        if not isinstance(value, dict):
            self.refuse_value(key, value, "a table")
        return Table(self.document, value, keys, base)

    def finish(self, *more: str) -> None:
        """Refuse what nobody asked for, but for the keys that are named here."""
        self._known.update(more)
        for key in self.values:
            if key not in self._known:
                close = get_close_matches(key, self._known, n=1)
                hint = (
                    f"did you mean '{close[0]}'?"
                    if close
                    else "there are " + ", ".join(sorted(self._known))
                )
                self.document.refuse((*self.keys, key), f"no such key; {hint}")


def _is_number(value: object, low: float, high: float) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and low <= value <= high  # type: ignore[arg-type,operator]


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "..."
