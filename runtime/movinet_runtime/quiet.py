"""Keep native libraries from writing to the terminal what users cannot act on."""

import atexit
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_LOCK = threading.Lock()
_hiding = 0  # blocks that are open now, in any thread
_kept = -1  # the true standard error meanwhile


@contextmanager
def native_messages_hidden() -> Iterator[None]:
    """Hide what C++ code writes to stderr in the block; errors come as exceptions anyway.

    LiteRT announces its delegate, TensorFlow missing graphics cards, each on file
    descriptor 2, where Python's redirections do not reach. The descriptor is the whole
    process's: the first of several blocks at once hides, the last one shows again.
    """
    hidden = _hide()
    try:
        yield
    finally:
        if hidden:
            _show()


def _hide() -> bool:
    global _hiding, _kept
    with _LOCK:
        if not _hiding:
            try:
                sys.stderr.flush()
                _kept = os.dup(2)
            except (AttributeError, OSError, ValueError):  # no stderr to protect
                return False
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        _hiding += 1
        return True


def _show() -> None:
    global _hiding
    with _LOCK:
        _hiding -= 1
        if not _hiding:
            os.dup2(_kept, 2)
            os.close(_kept)


def hide_native_messages_at_exit() -> None:
    """Hide what C++ destructors say when the process ends; for programs, not libraries."""
    atexit.register(_close_stderr)


def _close_stderr() -> None:
    sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
