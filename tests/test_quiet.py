"""Standard error is the whole process's: hiding it in several threads must not lose it."""

import os
import threading
from pathlib import Path

from movinet_runtime.quiet import native_messages_hidden


def test_stderr_comes_back_when_blocks_overlap(tmp_path: Path) -> None:
    """The first thread leaves while the second is inside: the second must not keep nothing."""
    kept = os.dup(2)
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 2)
    inside, leave = threading.Event(), threading.Event()

    def second() -> None:
        with native_messages_hidden():
            inside.set()
            leave.wait(10)

    try:
        thread = threading.Thread(target=second)
        with native_messages_hidden():
            thread.start()
            assert inside.wait(10)
            os.write(2, b"hidden ")
        os.write(2, b"hidden by the other ")
        leave.set()
        thread.join()
        os.write(2, b"shown")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(log)
    assert (tmp_path / "log").read_text() == "shown"
