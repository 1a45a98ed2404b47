"""Events to an address, by POST."""

import json
from http.client import HTTPException
from typing import Any
from urllib.request import HTTPRedirectHandler, Request, build_opener

from movinet_runtime.addresses import redacted
from movinet_runtime.errors import OutputError
from movinet_runtime.sources.source import Say
from movinet_runtime.watch.config import WebhookConfig
from movinet_runtime.watch.events import WatchEvent
from movinet_runtime.watch.output import Output
from movinet_runtime.watch.worker import Worker

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds between attempts, doubling


class WebhookOutput(Output):
    """Sends each event as JSON; what is not taken is sent again, after growing pauses."""

    def __init__(self, config: WebhookConfig, say: Say) -> None:
        self._config = config
        self._opener = build_opener(_NoRedirects())
        self._worker: Worker[dict[str, Any]] = Worker("webhook", self._send, config.queue, say)

    def event(self, event: WatchEvent) -> None:
        """See :meth:`Output.event`."""
        if event.kind in self._config.kinds:
            self._worker.put(event.as_json())

    def close(self) -> None:
        """See :meth:`Output.close`."""
        self._worker.close()

    def _send(self, event: dict[str, Any]) -> None:
        """Send one, several times if need be.

        Raises:
            OutputError: it was never taken.
        """
        wait, reason = FIRST_WAIT, ""
        for attempt in range(self._config.retries + 1):
            if attempt:
                if self._worker.closing:
                    break
                self._worker.wait(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            try:
                self._post(event)
            except OSError as error:
                reason = str(error)
            except (HTTPException, ValueError) as error:
                reason = type(error).__name__  # its text may hold what was sent, such as a secret
            else:
                return
        raise OutputError(
            f"{redacted(self._config.url)} did not take event {event['id']}: {reason}"
        )

    def _post(self, event: dict[str, Any]) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": "movinet-watch"}
        if self._config.authorization:
            headers["Authorization"] = self._config.authorization
        data = json.dumps(event, ensure_ascii=False).encode()
        # The scheme was checked when the configuration was read.
        request = Request(self._config.url, data, headers, method="POST")  # noqa: S310
        with self._opener.open(request, timeout=self._config.timeout) as answer:
            answer.read(1)


class _NoRedirects(HTTPRedirectHandler):
    """Another address is another configuration; urllib would also make a GET of it."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""
        return None
