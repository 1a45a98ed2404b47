"""Where downloaded weights are kept, each with a record of what it was when it first came.

    <cache>/a0-stream/kinetics-600/kaggle/movinet_a0_stream_kaggle.tar.gz
                                         /record.json      sha256, size, date, address
                                         /download.part    what has come so far
                                         /download.json    and of which version it is
                                         /lock             held by the process that downloads

The cache is a folder ``movinet`` where the system keeps a user's caches, or what the
variable MOVINET_CACHE names.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from movinet_models.errors import FetchError
from movinet_models.transfer import INSTALL, forget
from movinet_runtime.errors import MissingPackageError
from movinet_runtime.files import written_whole

VARIABLE = "MOVINET_CACHE"


@dataclass(frozen=True)
class Record:
    """What a file was when it first came; stored beside it.

    Attributes:
        file: its name.
        url: where it came from, without user, password and query.
        sha256: of the file.
        size: bytes.
        date: when it came, ISO 8601 in UTC.
        etag: the server's name for this version, if it gave one.
        kind: the kind of its source; empty for an address that a user gave.
        by_hand: whether a person brought it.
    """

    file: str
    url: str
    sha256: str
    size: int
    date: str
    etag: str | None = None
    kind: str = ""
    by_hand: bool = False


def cache_folder() -> Path:
    """Return the folder of all downloads.

    Raises:
        MissingPackageError: platformdirs is not installed.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    try:
        import platformdirs
    except ImportError as error:
        raise MissingPackageError(INSTALL) from error
    return platformdirs.user_cache_path("movinet")


def sha256(path: Path) -> str:
    """Return the checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class Slot:
    """The place of one file."""

    folder: Path

    @property
    def part(self) -> Path:
        """What has come so far."""
        return self.folder / "download.part"

    @property
    def record_path(self) -> Path:
        """Where the record is."""
        return self.folder / "record.json"

    def record(self) -> Record | None:
        """Read the record; None where there is none that can be understood."""
        try:
            read = json.loads(self.record_path.read_text("utf-8"))
            record = Record(**{field.name: read[field.name] for field in fields(Record)})
        except (OSError, ValueError, KeyError, TypeError):
            return None
        plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", str(record.file))
        return record if plain and re.fullmatch(r"[0-9a-f]{64}", str(record.sha256)) else None

    def kept(self) -> tuple[Path, Record] | None:
        """Return the file, if it is there and still what the record says."""
        record = self.record()
        if record is None:
            return None
        path = self.folder / record.file
        try:
            same = path.stat().st_size == record.size and sha256(path) == record.sha256
        except OSError:
            return None
        return (path, record) if same else None

    def keep(self, ready: Path, record: Record) -> Path:
        """Move a file to its place and write its record; both appear whole.

        Raises:
            FetchError: they cannot be written.
        """
        path, before = self.folder / record.file, self.record()
        try:
            os.replace(ready, path)
            if before is not None and before.file != record.file:
                (self.folder / before.file).unlink(missing_ok=True)
            with written_whole(self.record_path) as temporary:
                temporary.write_text(json.dumps(asdict(record), indent=2) + "\n", "utf-8")
        except OSError as error:
            raise FetchError(f"cannot write {path}: {error.strerror}") from error
        forget(self.part)
        return path

    @contextmanager
    def locked(self, wait: float, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Make the folder and hold it against other processes for the time of the block.

        Args:
            wait: seconds for which another process may hold it.
            waiting: called when one does.

        Raises:
            FetchError: the folder cannot be written, or is held for too long.
            MissingPackageError: filelock is not installed.
        """
        try:
            from filelock import FileLock, Timeout
        except ImportError as error:
            raise MissingPackageError(INSTALL) from error
        lock = FileLock(self.folder / "lock")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                waiting()
                lock.acquire(timeout=wait)
        except Timeout:
            raise FetchError(
                f"another process has been downloading to {self.folder} for {wait:.0f} s"
            ) from None
        except OSError as error:
            raise FetchError(
                f"cannot write the cache {self.folder}: {error.strerror}; "
                f"the variable {VARIABLE} names another folder"
            ) from error
        try:
            yield
        finally:
            lock.release()
