"""Events as JSON lines in a file that is exchanged when it has grown."""

import json
import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from movinet_runtime.files import writing
from movinet_runtime.sources.source import Say
from movinet_runtime.watch.config import LinesConfig
from movinet_runtime.watch.events import WatchEvent
from movinet_runtime.watch.output import Output
from movinet_runtime.watch.worker import Worker

QUEUE = 10_000  # lines: a disk may stand still for a while


class LinesOutput(Output):
    """Appends a line for each start, update and end.

    Raises:
        OutputError: the file cannot be written.
    """

    def __init__(self, config: LinesConfig, say: Say) -> None:
        with writing(config.file):
            _end_last_line(config.file)
            self._file = _Rotating(config)
        self._path = config.file
        self._worker: Worker[dict[str, Any]] = Worker("events file", self._write, QUEUE, say)

    def event(self, event: WatchEvent) -> None:
        """See :meth:`Output.event`."""
        self._worker.put(event.as_json())

    def close(self) -> None:
        """See :meth:`Output.close`."""
        self._worker.close()
        self._file.close()

    def _write(self, event: dict[str, Any]) -> None:
        with writing(self._path):
            self._file.write(json.dumps(event, ensure_ascii=False))


class _Rotating(RotatingFileHandler):
    """The standard library's file that rotates, for lines that are no log records."""

    def __init__(self, config: LinesConfig) -> None:
        most = max(1, round(config.max_mb * 1e6))
        super().__init__(config.file, maxBytes=most, backupCount=config.keep, encoding="utf-8")

    def write(self, line: str) -> None:
        self.emit(logging.makeLogRecord({"msg": line}))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (its name)
        """Let the error out: a full disk is to be reported."""
        raise


def _end_last_line(path: Path) -> None:
    """Close a line that a power cut left open, so that the next one stands alone."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb+") as file:
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.write(b"\n")
