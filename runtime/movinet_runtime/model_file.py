"""What a ``.tflite`` file says about itself, read without an interpreter.

The flatbuffer is walked by hand (the format: flatbuffers.dev/internals): the generated
schema classes take 0.3 s to import and are not there on every board. Every offset is
checked against the file's end.
"""

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from movinet_runtime.description import Description, NewerVersionError, parsed
from movinet_runtime.errors import ModelFileError

METADATA_NAME = "MOVINET_EDGE"
FILE_IDENTIFIER = b"TFL3"

# Fields of the schema's tables by their number.
MODEL_BUFFERS, MODEL_METADATA = 4, 6
METADATA_FIELD_NAME, METADATA_FIELD_BUFFER = 0, 1
BUFFER_DATA = 0


@dataclass(frozen=True)
class ModelFile:
    """The bytes of a model and the description inside them."""

    path: Path
    content: bytes

    @classmethod
    def read(cls, path: Path | str) -> "ModelFile":
        """Read a file.

        Raises:
            ModelFileError: it is missing, a folder, or no TFLite flatbuffer.
        """
        path = Path(path)
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelFileError(f"cannot read the model {path}: {error.strerror}") from error
        if content[4:8] != FILE_IDENTIFIER:
            raise ModelFileError(f"{path} is no TFLite model (it does not say TFL3 at byte 4)")
        return cls(path, content)

    @cached_property
    def sha256(self) -> str:
        """Checksum of the whole file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The toolkit's description as it is in the file; empty in files of other tools.

        Raises:
            ModelFileError: as :attr:`description`.
        """
        return {} if self._described is None else self._described[0]

    @property
    def description(self) -> Description | None:
        """The toolkit's description (docs/model-file.md); None in files of other tools.

        Raises:
            ModelFileError: it is damaged, or written by a newer version.
        """
        return None if self._described is None else self._described[1]

    @cached_property
    def _described(self) -> tuple[Mapping[str, Any], Description] | None:
        try:
            raw = _metadata_buffer(self.content, METADATA_NAME.encode())
        except (struct.error, IndexError, ValueError) as error:
            raise ModelFileError(f"{self.path} is damaged: its metadata cannot be read") from error
        try:
            return None if raw is None else parsed(raw)
        except NewerVersionError as error:
            raise ModelFileError(f"{self.path}: its metadata {error}") from error
        except ValueError as error:
            raise ModelFileError(f"{self.path} is damaged: its metadata {error}") from error


def _metadata_buffer(content: bytes, name: bytes) -> bytes | None:
    model = _u32(content, 0)
    for entry in _vector(content, model, MODEL_METADATA):
        if _bytes(content, entry, METADATA_FIELD_NAME) == name:
            at = _field(content, entry, METADATA_FIELD_BUFFER)
            index = _u32(content, at) if at else 0
            return _bytes(content, _vector(content, model, MODEL_BUFFERS)[index], BUFFER_DATA)
    return None


def _u32(content: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", content, at)[0])


def _field(content: bytes, table: int, number: int) -> int:
    """Return the position of a table's field, 0 if it is absent."""
    vtable = table - int(struct.unpack_from("<i", content, table)[0])
    if vtable < 0:
        raise ValueError("a table points before the file")
    size = struct.unpack_from("<H", content, vtable)[0]
    slot = 4 + 2 * number
    if slot >= size:
        return 0
    offset = int(struct.unpack_from("<H", content, vtable + slot)[0])
    return table + offset if offset else 0


def _vector(content: bytes, table: int, number: int) -> list[int]:
    """Return the positions of the tables in a vector field."""
    at = _field(content, table, number)
    if not at:
        return []
    start = at + _u32(content, at)
    count = _u32(content, start)
    if start + 4 + 4 * count > len(content):
        raise ValueError("a vector ends after the file")
    places = range(start + 4, start + 4 + 4 * count, 4)
    return [place + _u32(content, place) for place in places]


def _bytes(content: bytes, table: int, number: int) -> bytes:
    at = _field(content, table, number)
    if not at:
        return b""
    start = at + _u32(content, at)
    size = _u32(content, start)
    if start + 4 + size > len(content):
        raise ValueError("a vector ends after the file")
    return content[start + 4 : start + 4 + size]
