"""A program for each event."""

import json
import os
import signal
import subprocess
from tempfile import TemporaryFile
from typing import Any

from movinet_runtime.errors import OutputError
from movinet_runtime.sources.source import Say
from movinet_runtime.watch.config import CommandConfig
from movinet_runtime.watch.events import WatchEvent
from movinet_runtime.watch.output import Output
from movinet_runtime.watch.worker import Worker

NAMED = ("kind", "camera", "label", "id")  # in the environment, as MOVINET_KIND ...
SAID = 4096  # bytes of its standard error that are read


class CommandOutput(Output):
    """Runs the program, one event after the other, with the event on its standard input."""

    def __init__(self, config: CommandConfig, say: Say) -> None:
        self._config = config
        self._worker: Worker[dict[str, Any]] = Worker("command", self._call, config.queue, say)

    def event(self, event: WatchEvent) -> None:
        """See :meth:`Output.event`."""
        if event.kind in self._config.kinds:
            self._worker.put(event.as_json())

    def close(self) -> None:
        """See :meth:`Output.close`."""
        self._worker.close()

    def _call(self, event: dict[str, Any]) -> None:
        """Run it once.

        Raises:
            OutputError: it cannot be run, takes too long or fails.
        """
        program = self._config.command[0]
        try:
            code, said = self._ended(event)
        except subprocess.TimeoutExpired:
            raise OutputError(f"{program} took longer than {self._config.timeout:g} s") from None
        except OSError as error:
            raise OutputError(f"cannot run {program}: {error.strerror or error}") from error
        if code:
            last = (said.strip().splitlines() or ["nothing"])[-1]
            raise OutputError(f"{program} ended with {code} and said: {last}")

    def _ended(self, event: dict[str, Any]) -> tuple[int, str]:
        """Return its exit code and the end of what it said on standard error.

        That goes to a file: who reads a pipe waits for all that the program leaves behind.
        """
        named = {f"MOVINET_{key.upper()}": str(event[key]) for key in NAMED}
        with TemporaryFile() as errors:
            process = subprocess.Popen(
                self._config.command,
                stdin=subprocess.PIPE,
                env=os.environ | named,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
            try:
                text = json.dumps(event, ensure_ascii=False).encode()
                process.communicate(text, self._config.timeout)
            except BaseException:
                _kill(process)
                raise
            errors.seek(max(0, errors.seek(0, os.SEEK_END) - SAID))
            return process.returncode, errors.read().decode(errors="replace")


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a program, and what it began itself."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (AttributeError, ProcessLookupError):  # Windows has no groups
        process.kill()
    process.wait()
