"""States in files: ``.npz`` archives that only the same model file takes back.

A file is checked against the model before anything of its size is allocated.
"""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from movinet_runtime.errors import StateError
from movinet_runtime.files import writing, written_whole
from movinet_runtime.tensors import State, TensorSpec, check_state

VERSION = 1
ABOUT = "about"  # the entry that is no tensor
LONGEST_ABOUT = 4096  # bytes
LONGEST_HEADER = 1024  # of an array in the archive
LATEST_INDEX = 2**53


@dataclass(frozen=True)
class StateFile:
    """A saved state.

    Attributes:
        model: SHA-256 of the model file.
        index: number of the next frame.
        tensors: the state by name.
    """

    model: str
    index: int
    tensors: State


def encoded(state: StateFile) -> bytes:
    """Return the bytes of a file."""
    about = {"version": VERSION, "model": state.model, "index": state.index}
    entries: dict[str, Any] = {ABOUT: np.array(json.dumps(about)), **state.tensors}
    file = io.BytesIO()
    np.savez(file, **entries)
    return file.getvalue()


def write_state_file(path: Path, state: StateFile) -> None:
    """Write a state.

    Raises:
        OutputError: the file cannot be written.
    """
    with written_whole(path) as temporary, writing(path):
        temporary.write_bytes(encoded(state))


def read_state_file(path: Path, specs: Mapping[str, TensorSpec], model: str) -> StateFile:
    """Read a state of a model.

    Args:
        path: what :func:`write_state_file` wrote.
        specs: the model's states.
        model: SHA-256 of the model file.

    Raises:
        StateError: unreadable, of another model, or with numbers that are none.
    """
    try:
        with ZipFile(path) as archive:
            about = json.loads(str(_entry(archive, ABOUT, LONGEST_ABOUT)))
            found, index = _checked_about(path, about, model)
            tensors = {name: _entry(archive, name, _bytes(spec)) for name, spec in specs.items()}
    except StateError:
        raise
    except Exception as error:  # whatever zipfile, numpy and json make of hostile bytes
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StateError(f"{path} is no state that can be read: {reason}") from error
    try:
        check_state(tensors, specs)
    except StateError as error:
        raise StateError(f"{path}: {error}") from error
    return StateFile(found, index, tensors)


def _checked_about(path: Path, about: Any, model: str) -> tuple[str, int]:
    version, found, index = about["version"], about["model"], about["index"]
    if version != VERSION:
        raise StateError(f"{path} has version {version!r:.20}, this runtime knows {VERSION}")
    if found != model:
        raise StateError(f"{path} is the state of another model file")
    if type(index) is not int or not 0 <= index < LATEST_INDEX:
        raise StateError(f"{path} is damaged: its frame number is {index!r:.20}")
    return found, index


def _entry(archive: ZipFile, name: str, limit: int) -> NDArray[Any]:
    """Read an array of at most ``limit`` bytes, whatever its header claims."""
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > limit + LONGEST_HEADER:
        raise ValueError(f"'{name}' has {info.file_size} bytes where {limit} are expected")
    with archive.open(info) as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, by_columns, dtype = read_header(file)
        size = math.prod(shape) * dtype.itemsize
        data = file.read()  # to the end: the checksum is compared there
    if dtype.hasobject or len(data) != size:
        raise ValueError(f"'{name}' has {len(data)} bytes of data, its header says {size}")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")


def _bytes(spec: TensorSpec) -> int:
    return math.prod(spec.shape) * spec.dtype.itemsize
