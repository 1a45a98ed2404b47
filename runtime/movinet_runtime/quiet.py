"""Keep native libraries from writing to the terminal what users cannot act on."""

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def native_messages_hidden() -> Iterator[None]:
    """Hide what C++ code writes to stderr in the block; errors come as exceptions anyway.

    LiteRT announces its delegate, TensorFlow missing graphics cards, each on file
    descriptor 2, where Python's redirections do not reach.
    """
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (AttributeError, OSError, ValueError):  # no stderr to protect
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def hide_native_messages_at_exit() -> None:
    """Hide what C++ destructors say when the process ends; for programs, not libraries."""
    atexit.register(_close_stderr)


def _close_stderr() -> None:
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
