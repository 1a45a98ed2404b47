"""Files behind addresses, read in place through fsspec: https://, s3:// and what else it opens."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EIO
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from movinet_runtime.addresses import redacted, redacted_in
from movinet_runtime.errors import MissingPackageError, SourceError
from movinet_runtime.install import install_hint

T = TypeVar("T")
CONNECT, SILENT = 10.0, 30.0  # seconds until a server is given up; disks must begin to turn


def is_address(path: str) -> bool:
    """Whether a path is an address: it says how the file is reached."""
    return "://" in path


def shown(path: str) -> str:
    """Return a path for people and rows: an address without passwords and tokens."""
    return redacted(path) if is_address(path) else path


def file_name(path: str) -> str:
    """Return the last part of a path or of an address, without what is asked of a server."""
    if is_address(path):
        path = re.split("[?#]", path.partition("://")[2])[0]
    return Path(path).name or "index"


@dataclass(frozen=True)
class RemoteFile:
    """A file behind an address; it prints without passwords and tokens."""

    address: str

    def __str__(self) -> str:
        return redacted(self.address)

    @contextmanager
    def open(self, ahead: bool = True) -> Iterator[BinaryIO]:
        """Open it for reading anywhere in it; all that fails is a SourceError or an OSError.

        Args:
            ahead: whether more is read than what is asked for: what follows will be.

        Raises:
            SourceError: it cannot be opened.
            MissingPackageError: what opens such addresses is not installed.
        """
        fs, path = _file_system(self.address)
        options = {} if ahead else {"cache_type": "none"}
        file = self._asked(lambda: fs.open(path, "rb", **options))
        with file:
            if getattr(file, "size", None) is None:  # it says that it can seek, and cannot
                raise SourceError(f"{self}: its server tells no length; copy the file here first")
            yield _Quiet(file)  # type: ignore[misc]

    def listed(self) -> list[str]:
        """Return the addresses of the files below it, in the order of their names.

        Those that a pattern with ``*`` fits; or all files below an address that ends in a slash.

        Raises:
            SourceError: that cannot be listed.
        """
        fs, path = _file_system(self.address)
        if "*" in path:
            found = self._asked(lambda: fs.glob(path))
        else:
            self._asked(lambda: fs.ls(path))  # find says nothing of what it cannot reach
            found = self._asked(lambda: fs.find(path))
        return [fs.unstrip_protocol(one) for one in sorted(found)]

    def _asked(self, ask: Callable[[], T]) -> T:
        """Ask a server for something; each library has errors of its own."""
        try:
            return ask()
        except FileNotFoundError as error:  # what fsspec says of every failure of a web server
            cause = error.__cause__
            status = getattr(cause, "status", None)
            if not isinstance(cause, Exception) or status == 404:
                raise SourceError(f"{self} does not exist") from None
            wrong = f"status {status}" if status else _reason(cause)
            raise SourceError(f"{self} cannot be read: {wrong}") from None
        except Exception as error:
            raise SourceError(f"{self} cannot be read: {_reason(error)}") from None


def _file_system(address: str) -> tuple[Any, str]:
    """Return what opens an address, and the file's path in it.

    Raises:
        SourceError: nothing opens such addresses.
        MissingPackageError: what does is not installed.
    """
    name = redacted(address)
    try:
        import aiohttp
        import fsspec.core
    except ImportError as error:
        hint = install_hint("movinet-runtime[remote]")
        raise MissingPackageError(f"{name} needs fsspec to be read: {hint}") from error
    patience = aiohttp.ClientTimeout(None, sock_connect=CONNECT, sock_read=SILENT)
    options: dict[str, Any] = {
        "http": {"client_kwargs": {"timeout": patience}},
        "s3": {"config_kwargs": {"connect_timeout": CONNECT, "read_timeout": SILENT}},
    }
    scheme = address.partition("://")[0]
    try:
        fs, path = fsspec.core.url_to_fs(address, **options.get(scheme.removesuffix("s"), {}))
    except ImportError as error:  # which says what to install
        raise MissingPackageError(f"{name} cannot be read: {error}") from error
    except Exception as error:
        raise SourceError(f"{name} cannot be read: {_reason(error)}") from None
    return fs, path


def check_address(address: str) -> None:
    """Find out before the work whether addresses of this kind can be opened here.

    Raises:
        SourceError, MissingPackageError: not.
    """
    _file_system(address)


def _reason(error: Exception) -> str:
    """The first line of an error, which may hold the address."""
    text = str(error).strip().splitlines()
    if not text:
        return type(error).__name__
    return redacted_in(text[0])


class _Quiet(io.RawIOBase):
    """A file whose errors are all OSErrors."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        return self._tried(lambda: self._file.read(size))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._tried(lambda: self._file.seek(offset, whence))

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def _tried(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except Exception as error:
            reason = _reason(error)
            if "range requests" in reason:  # fsspec's advice is for its own callers
                reason = "its server sends no parts of files; copy the file here first"
            raise OSError(EIO, reason) from None
