"""Outputs appear whole or not at all; what the kernel tells may be missing."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from movinet_runtime.errors import UsageError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block succeeds.

    The temporary name keeps the suffix, since writers choose formats by it. On any
    exception, interrupts included, it is removed and ``path`` stays as it was.

    Raises:
        UsageError: the folder does not exist or cannot be written to.
    """
    path = Path(path)
    try:
        handle, name = tempfile.mkstemp(path.suffix, f".{path.stem}-", path.parent)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes files for the owner only
        os.replace(temporary, path)
    except IsADirectoryError as error:
        raise UsageError(f"cannot write {path}: it is a folder") from error
    finally:
        temporary.unlink(missing_ok=True)


def kernel_text(path: Path) -> str:
    """Read a file of /proc or /sys; empty on other systems, or where a sandbox hides it."""
    try:
        return path.read_text(errors="replace")  # names of mapped files may be of any bytes
    except OSError:
        return ""
