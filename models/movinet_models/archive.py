"""Unpack an archive of weights that someone else packed: plain files and folders, no more.

Nothing leaves the folder, nothing points out of it, and a small file does not become a
large one. The data filter of :mod:`tarfile` does a part of this from Python 3.11.4 on; the
checks here are stricter and do not depend on it, so that every Python refuses the same.
"""

import gzip
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from movinet_models.errors import WeightsError

HAS_FILTER = hasattr(tarfile, "data_filter")
DRIVE = re.compile(r"^[A-Za-z]:")


@dataclass(frozen=True)
class Limits:
    """What an archive may be.

    The largest published one, A5, is 72 MB, unpacks to less than 200 MB, and has a dozen files.

    Attributes:
        unpacked: bytes of the whole archive, headers included.
        members: files and folders.
        ratio: unpacked bytes for each packed one; float weights stay below 2, a graph of
            repeated nodes below 20.
        ratio_from: unpacked bytes below which the ratio does not matter.
        header: bytes read at once; more asks only a header that is no header.
    """

    unpacked: int = 2 << 30
    members: int = 10_000
    ratio: float = 200.0
    ratio_from: int = 64 << 20
    header: int = 8 << 20


LIMITS = Limits()


class _RefusedError(Exception):
    """What an archive asks for and does not get."""


class _Bounded:
    """The unpacked bytes of a .gz file, up to a limit."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._stream = gzip.GzipFile(path)
        self._limits = limits
        allowed = limits.ratio * path.stat().st_size
        self._most = min(limits.unpacked, max(allowed, limits.ratio_from))

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._limits.header:
            raise _RefusedError("one of its headers claims to be larger than any header is")
        found = self._stream.read(size)
        self._check()
        return found

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or position > self._most:
            raise _RefusedError(self._too_large())
        reached = self._stream.seek(position)  # forward: unpacks what it skips
        self._check()
        return reached

    def tell(self) -> int:
        return self._stream.tell()

    def drain(self) -> None:
        """Read what is left, so that the checksum at the end is compared."""
        while self.read(1 << 20):
            pass

    def close(self) -> None:
        self._stream.close()

    def _check(self) -> None:
        if self._stream.tell() > self._most:
            raise _RefusedError(self._too_large())

    def _too_large(self) -> str:
        return f"it unpacks to more than {self._most / (1 << 20):,.0f} MiB"


def _checked(member: tarfile.TarInfo, limits: Limits) -> tarfile.TarInfo:
    """Return a member that is a plain file or folder below the root of the archive."""
    name = member.name
    shown = ascii(name[:80])[1:-1]  # a name may hold what a terminal obeys
    if member.issym() or member.islnk():
        raise _RefusedError(f"'{shown}' is a link")
    if member.issparse() or not (member.isreg() or member.isdir()):
        raise _RefusedError(f"'{shown}' is neither a file nor a folder")
    parts = re.split(r"[/\\]", name)
    if name.startswith(("/", "\\")) or ".." in parts or DRIVE.match(name) or "\0" in name:
        raise _RefusedError(f"'{shown}' is outside of the archive's folder")
    if not 0 <= member.size <= limits.unpacked:
        raise _RefusedError(f"'{shown}' claims {member.size:,} bytes")
    return member


def _walk(
    archive: Path, limits: Limits, visit: Callable[[tarfile.TarFile, tarfile.TarInfo], None]
) -> None:
    """Call ``visit`` for every member of an archive that is checked from end to end.

    Raises:
        WeightsError: unreadable, cut off, or refused.
    """
    try:
        bounded = _Bounded(archive, limits)
    except OSError as error:
        raise WeightsError(f"cannot unpack {archive}: {error.strerror}") from error
    try:
        with tarfile.open(fileobj=cast(Any, bounded), mode="r:") as tar:
            for count, member in enumerate(tar, start=1):
                if count > limits.members:
                    raise _RefusedError(f"it has more than {limits.members:,} members")
                visit(tar, _checked(member, limits))
            bounded.drain()
    except _RefusedError as error:
        raise WeightsError(f"cannot unpack {archive}: {error}") from error
    except EOFError as error:
        raise WeightsError(f"cannot unpack {archive}: it is cut off") from error
    except OSError as error:
        reason = error.strerror or "it is no .tar.gz, or damaged"
        raise WeightsError(f"cannot unpack {archive}: {reason}") from error
    except (tarfile.TarError, zlib.error, ValueError, OverflowError) as error:
        raise WeightsError(f"cannot unpack {archive}: it is no .tar.gz, or damaged") from error
    finally:
        bounded.close()


def members(archive: Path, limits: Limits = LIMITS) -> list[str]:
    """Return the names of the files in a .tar.gz that is whole and harmless.

    Raises:
        WeightsError: it is neither.
    """
    names: list[str] = []

    def visit(_: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if member.isreg():
            names.append(member.name)

    _walk(archive, limits, visit)
    return names


@contextmanager
def unpacked(archive: Path, limits: Limits = LIMITS) -> Iterator[Path]:
    """Unpack a .tar.gz into a folder that lasts as long as the block.

    Raises:
        WeightsError: it is damaged, leaves the folder, holds links or devices, or is too large.
    """
    with tempfile.TemporaryDirectory(prefix="movinet-") as folder:

        def visit(tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
            # Owners and times of someone else's machine do not matter; modes might lock us out.
            member.mode = 0o700 if member.isdir() else 0o600
            chosen: dict[str, Any] = {"filter": "data"} if HAS_FILTER else {}
            tar.extract(member, folder, set_attrs=False, **chosen)

        _walk(archive, limits, visit)
        yield Path(folder)


def take_member(archive: Path, suffix: str, target: Path, limits: Limits = LIMITS) -> None:
    """Write the only member of a .tar.gz whose name has an ending.

    Raises:
        WeightsError: none has it, several have, or ``target`` cannot be written.
    """
    found: list[str] = []

    def visit(tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if not (member.isreg() and member.name.endswith(suffix)):
            return
        found.append(member.name)
        content = tar.extractfile(member)
        if content is not None and len(found) == 1:
            with content, target.open("wb") as file:
                while chunk := content.read(1 << 20):
                    file.write(chunk)

    _walk(archive, limits, visit)
    if len(found) != 1:
        raise WeightsError(f"cannot use {archive}: it has {len(found)} {suffix} files, not one")
