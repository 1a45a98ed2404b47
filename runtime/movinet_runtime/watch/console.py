"""Events on standard output, as text or JSON lines.

A thread prints: lines stay whole, and a reader that stands still costs lines and no pictures.
"""

import json
import os
import sys

from movinet_runtime.outputs.output import printable, printing
from movinet_runtime.sources.source import Say
from movinet_runtime.watch.events import WatchEvent
from movinet_runtime.watch.output import CameraStatus, Clip, Output
from movinet_runtime.watch.worker import Worker

QUEUE = 1000  # lines that wait for a reader


class ConsoleOutput(Output):
    """Prints a line for each event, clip and new state of a camera.

    Args:
        as_json: JSON lines, ``{"event": ...}``, ``{"clip": ...}``, ``{"status": ...}``.
        say: told what goes wrong.
    """

    def __init__(self, as_json: bool, say: Say) -> None:
        self._as_json = as_json
        self._gone = False
        self._worker: Worker[str] = Worker("standard output", self._write, QUEUE, say)

    def event(self, event: WatchEvent) -> None:
        """See :meth:`Output.event`."""
        if self._as_json:
            self._print(json.dumps({"event": event.as_json()}, ensure_ascii=False))
        elif event.kind != "update":
            lasted = f"  after {event.duration:.1f} s" if event.kind == "end" else ""
            what = f"{event.camera}  {event.kind:5}  {event.peak:6.1%}  {event.label}{lasted}"
            self._print(f"{event.time:%Y-%m-%d %H:%M:%S}  {what}")

    def clip(self, clip: Clip) -> None:
        """See :meth:`Output.clip`."""
        if self._as_json:
            about = {"name": clip.name, "camera": clip.camera, "events": clip.events}
            self._print(json.dumps({"clip": about}))

    def status(self, status: CameraStatus) -> None:
        """See :meth:`Output.status`."""
        if self._as_json:
            self._print(json.dumps({"status": status.as_json()}, ensure_ascii=False))
        else:
            why = f": {status.reason}" if status.reason else ""
            what = f"{status.camera}  {status.state}{why}"
            self._print(f"{status.since:%Y-%m-%d %H:%M:%S}  {what}")

    def close(self) -> None:
        """See :meth:`Output.close`."""
        self._worker.close()

    def _print(self, line: str) -> None:
        self._worker.put(line if self._as_json else printable(line))

    def _write(self, line: str) -> None:
        """Write past Python's buffer: its lock, held by a thread that hangs, aborts the end.

        Raises:
            OutputError: its disk is full ...
        """
        if self._gone:
            return
        left = f"{line}\n".encode(sys.stdout.encoding or "utf-8", "replace")
        try:
            with printing():
                while left:
                    left = left[os.write(sys.stdout.fileno(), left) :]
        except BrokenPipeError:  # nobody reads it any more: watching goes on
            self._gone = True
