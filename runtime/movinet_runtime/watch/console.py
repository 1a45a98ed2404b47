"""Events on standard output, as text or JSON lines."""

import json

from movinet_runtime.outputs.output import printable, printing
from movinet_runtime.watch.events import WatchEvent
from movinet_runtime.watch.output import CameraStatus, Clip, Output


class ConsoleOutput(Output):
    """Prints a line for each event, clip and new state of a camera.

    Args:
        as_json: JSON lines, ``{"event": ...}``, ``{"clip": ...}``, ``{"status": ...}``.
    """

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._gone = False

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

    def _print(self, line: str) -> None:
        if self._gone:
            return
        try:
            with printing():
                print(line if self._as_json else printable(line), flush=True)
        except BrokenPipeError:  # nobody reads it any more: watching goes on
            self._gone = True
