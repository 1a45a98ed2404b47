"""The page as an output."""

from threading import Thread

from movinet_runtime.sources.source import Say
from movinet_runtime.watch.config import WebConfig
from movinet_runtime.watch.web.server import PageServer
from movinet_runtime.watch.web.session import Sessions
from movinet_runtime.watch.web.state import PageState


class WebOutput(PageState):
    """Remembers what it is told, and serves it.

    Args:
        config: where, and who may look.
        say: told what goes wrong in here.

    Raises:
        OutputError: it cannot listen there.
    """

    def __init__(self, config: WebConfig, say: Say) -> None:
        super().__init__(config.clips)
        sessions = Sessions(config.password_hash)
        self.server = PageServer(config.host, config.port, self, sessions, config.clips, say)
        self._thread = Thread(
            target=self.server.serve_forever, args=(0.2,), daemon=True, name="web"
        )
        self._thread.start()

    def close(self) -> None:
        """See :meth:`Output.close`."""
        super().close()
        self.server.shutdown()
        self._thread.join(5.0)
        self.server.server_close()
