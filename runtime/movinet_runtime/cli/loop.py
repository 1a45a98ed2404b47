"""The loop of ``movinet run``: a source, a stream, outputs, and how it ends.

    the source ends, --max-frames              outputs committed                     exit 0
    live: a signal, stayed lost,               outputs committed, open events end    exit 0
          the reader of our pipe left
    live: input breaks, one output fails       the other outputs committed           exit 2
    file: a signal, input breaks, ...          no outputs                            exit 130, 2

A file is worth nothing in part; a live source is cut somewhere in any case.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import islice
from typing import Any

from movinet_runtime.cli.stop import Stop, Stopped
from movinet_runtime.errors import LostError, MovinetError
from movinet_runtime.outputs.output import Output, Outputs
from movinet_runtime.sources.source import Run, Source
from movinet_runtime.stream import Stream


def classify(
    source: Source,
    fps: float,
    stream: Stream,
    outputs: Iterable[Output],
    limit: int | None,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Classify a source's frames until it ends, and write every output.

    Args:
        source: where frames come from; closed at the end.
        fps: frames a second.
        stream: of this source.
        outputs: opened here, one after the other.
        limit: the most frames; None: all.
        report: called with a line when a live source stayed lost.

    Returns:
        Where the time went (``--stats``).

    Raises:
        MovinetError: what ended it, if it did not end well.
    """
    failed: MovinetError | None = None
    about: dict[str, Any] = {}
    with ExitStack() as stack:
        stop = stack.enter_context(Stop()) if source.live else None
        stack.enter_context(source)
        written = stack.enter_context(Outputs())
        try:
            for output in outputs:
                written.add(output)
            run = source.sampled(fps)
            if stop is None:
                _loop(run, stream, written, limit)
            else:
                failed = _until_stopped(run, stop, stream, written, limit, report)
                about = {"dropped": run.dropped, "reopened": run.reopened}
        except Stopped:  # before there was anything, or after all was read
            pass
        if not stream.stages.frames:
            written.abandon()
    if failed is not None:
        raise failed
    return stream.stages.as_json() | about


def _loop(run: Run, stream: Stream, outputs: Outputs, limit: int | None) -> None:
    """Read to the end; without the reader of our pipe, for the other outputs."""
    for frame in islice(stream.stages.fetching(run, "decode"), limit):
        prediction = stream.predict(frame)
        with stream.stages.stage("output"):
            try:
                outputs.write(frame, prediction)
            except BrokenPipeError:
                if not len(outputs):
                    return


def _until_stopped(
    run: Run,
    stop: Stop,
    stream: Stream,
    outputs: Outputs,
    limit: int | None,
    report: Callable[[str], None],
) -> MovinetError | None:
    """Read until something ends it; return that if it is an error for all that."""
    try:
        for frame in islice(stream.stages.fetching(run, "wait"), limit):
            with stop.busy():
                prediction = stream.predict(frame)
                with stream.stages.stage("output"):
                    outputs.write(frame, prediction)
            if stop.asked:
                break
        stop.hold()
    except (Stopped, BrokenPipeError):
        stop.hold()
    except MovinetError as error:
        stop.hold()
        if not stream.stages.frames:
            raise
        if not isinstance(error, LostError):
            return error
        report(str(error))
    return None
