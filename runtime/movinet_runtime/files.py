"""Outputs appear whole or not at all; what the kernel tells may be missing."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from movinet_runtime.errors import OutputError

LONGEST_STEM = 60  # characters of a name that a temporary one keeps: names have 255 bytes
STANDARD_STREAMS = (1, 2)


@contextmanager
def writing(what: Path | str) -> Iterator[None]:
    """Turn the system's errors in the block into one line that names this output.

    A reader that went away is no error of the output: BrokenPipeError passes.

    Raises:
        OutputError: the disk is full, the folder is missing, it may not be written to ...
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {what}: {error.strerror or error}") from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that takes its place when the block succeeds.

    The temporary name keeps the suffix, since writers choose formats by it. On any
    exception, interrupts included, it is removed and ``path`` stays as it was. A file that
    was there gives its mode to the new one; behind a link, the link's target is replaced.
    What is no regular file (a FIFO, /dev/null, /dev/stdout) is written into at the end. In the
    block, the system's errors count as this output's: other files are to be closed, or to have
    a :func:`writing` of their own.

    Raises:
        OutputError: the folder does not exist or cannot be written to, the disk is full.
    """
    path = Path(path)
    with writing(path):
        special = open_special(path)
    if special is not None:
        try:
            with tempfile.TemporaryDirectory(prefix="movinet-") as folder:
                temporary = Path(folder) / f"output{path.suffix}"
                temporary.touch()
                with writing(path):
                    yield temporary
                with writing(path), temporary.open("rb") as content:
                    shutil.copyfileobj(content, special)
                    special.flush()
        finally:
            with suppress(OSError):  # said already
                special.close()
        return
    target = path.resolve()
    with writing(path):
        temporary, mode = _beside(target)
    try:
        with writing(path):
            yield temporary
            if mode is not None:
                temporary.chmod(mode)
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def open_special(path: Path) -> BinaryIO | None:
    """Open what is written into and never replaced: a pipe, a device, our own output.

    None for regular files and for what does not exist. A FIFO waits for its reader.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    for stream in STANDARD_STREAMS:
        with suppress(OSError):  # closed
            if os.path.samestat(os.fstat(stream), found):
                return os.fdopen(os.dup(stream), "wb")  # shares the position in a file
    if stat.S_ISREG(found.st_mode):
        return None
    return path.open("wb")


def _beside(target: Path) -> tuple[Path, int | None]:
    """Make an empty file beside the target; return it and the target's mode, if it exists.

    The kernel applies the umask to a new file, as it does to any other.
    """
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    name = f".{target.stem[:LONGEST_STEM]}-{os.urandom(4).hex()}{target.suffix}"
    temporary = target.with_name(name)
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return temporary, mode


def kernel_text(path: Path) -> str:
    """Read a file of /proc or /sys; empty on other systems, or where a sandbox hides it."""
    try:
        return path.read_text(errors="replace")  # names of mapped files may be of any bytes
    except OSError:
        return ""
