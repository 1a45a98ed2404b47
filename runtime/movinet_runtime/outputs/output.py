"""What every output has in common.

An output is a context manager that gives a function for frames and their predictions. Leaving
the block commits it, an exception in the block discards it.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType

from movinet_runtime.classifier import Prediction
from movinet_runtime.errors import MovinetError
from movinet_runtime.files import writing
from movinet_runtime.sources.frame import Frame

Sink = Callable[[Frame, Prediction], None]
Output = AbstractContextManager[Sink]

STANDARD_OUTPUT = "standard output"


class Outputs:
    """Several outputs; one that fails takes none of the others with it."""

    def __init__(self) -> None:
        self._open: list[tuple[Output, Sink]] = []

    def add(self, output: Output) -> None:
        """Open an output.

        Raises:
            MovinetError: it cannot be opened.
        """
        self._open.append((output, output.__enter__()))

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """Give a frame to all of them.

        Raises:
            OutputError, BrokenPipeError: of the first that fails, which is discarded.
        """
        for output, sink in list(self._open):
            try:
                sink(frame, prediction)
            except (MovinetError, BrokenPipeError) as error:
                self._open.remove((output, sink))
                with suppress(MovinetError, BrokenPipeError):
                    output.__exit__(type(error), error, error.__traceback__)
                raise

    def abandon(self) -> None:
        """Discard all: there was nothing to write."""
        self._close(_Nothing, _Nothing(), None)

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def __enter__(self) -> "Outputs":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Commit each of them, or discard all when the block failed.

        Raises:
            OutputError: of the first that fails.
        """
        self._close(kind, error, trace)

    def _close(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        failed: MovinetError | None = None
        while self._open:
            output, _ = self._open.pop()
            try:
                output.__exit__(kind, error, trace)
            except BrokenPipeError:
                pass  # nobody reads it any more
            except (MovinetError, _Nothing) as other:
                if error is None and isinstance(other, MovinetError):
                    failed = failed or other
            except BaseException as crash:
                self._close(type(crash), crash, None)
                raise
        if failed is not None:
            raise failed


class _Nothing(Exception):  # noqa: N818 (no error)
    """Why outputs are discarded that nothing was written to."""


@contextmanager
def printing() -> Iterator[None]:
    """Print in the block: what fails is the standard output, and only its reader may go away.

    Raises:
        OutputError: its disk is full ...
        BrokenPipeError: nobody reads it any more; what is printed from now on is dropped.
    """
    try:
        with writing(STANDARD_OUTPUT):
            yield
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # or Python complains when it ends
        os.close(nowhere)
        raise


def printable(text: str) -> str:
    """Return a text without what would move the cursor of a terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
