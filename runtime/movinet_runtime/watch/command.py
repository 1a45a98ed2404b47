"""A program for each event."""

import json
import os
import subprocess
from typing import Any

from movinet_runtime.errors import OutputError
from movinet_runtime.sources.source import Say
from movinet_runtime.watch.config import CommandConfig
from movinet_runtime.watch.events import WatchEvent
from movinet_runtime.watch.output import Output
from movinet_runtime.watch.worker import Worker

NAMED = ("kind", "camera", "label", "id")  # in the environment, as MOVINET_KIND ...


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
        named = {f"MOVINET_{key.upper()}": str(event[key]) for key in NAMED}
        try:
            done = subprocess.run(
                self._config.command,
                input=json.dumps(event, ensure_ascii=False).encode(),
                env=os.environ | named,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=self._config.timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise OutputError(f"{program} took longer than {error.timeout:g} s") from None
        except OSError as error:
            raise OutputError(f"cannot run {program}: {error.strerror or error}") from error
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
            raise OutputError(f"{program} ended with {done.returncode} and said: {said[-1]}")
