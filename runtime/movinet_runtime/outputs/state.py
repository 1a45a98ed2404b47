"""The state after the last frame."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from movinet_runtime.classifier import StreamClassifier
from movinet_runtime.files import writing, written_whole
from movinet_runtime.outputs.output import Sink
from movinet_runtime.state_file import encoded


@contextmanager
def saved_state(path: Path, classifier: StreamClassifier) -> Iterator[Sink]:
    """Write the state at the end; that it can be written is known at the beginning.

    Raises:
        OutputError: it cannot be written.
    """
    with written_whole(path) as temporary:
        yield lambda frame, prediction: None
        with writing(path):
            temporary.write_bytes(encoded(classifier.state_file()))
