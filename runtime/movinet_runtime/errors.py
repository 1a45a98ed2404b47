"""What can go wrong for a user, each with one line that says what to do next.

MovinetError                 anything the command line reports without a traceback
├── UsageError               options that do not fit together, an unknown name
├── MissingPackageError      a part that is not installed; names the pip line
├── ModelFileError           a .tflite that cannot be read or is no stream model
├── StateError               a state that does not fit the model
├── SourceError              a video, camera or stream that gives no frames
│   └── LostError            a live one that stayed lost
├── OutputError              an output that cannot be written
├── LabelsError              labels that do not fit the logits
└── WeightsError             weights that do not fit the network (movinet-convert)
"""

from collections.abc import Sequence


class MovinetError(Exception):
    """Base of all errors that are the input's fault, not the program's."""


class UsageError(MovinetError):
    """Options that do not fit together, or a name that nobody knows."""


class MissingPackageError(MovinetError):
    """A part of the toolkit, or a library of its, is not installed."""


class ModelFileError(MovinetError):
    """A model file that cannot be read, or is not what the caller needs."""


class StateError(MovinetError):
    """A state whose names, shapes or dtypes are not the model's."""


class SourceError(MovinetError):
    """A source of frames that cannot be opened or gives no frames."""


class LostError(SourceError):
    """A live source that gave frames, or was asked for some, and stayed silent too long."""


class OutputError(MovinetError):
    """An output that cannot be written: a full disk, a missing folder, no such format."""


class LabelsError(MovinetError):
    """Labels that cannot be read or do not match the logits."""


class WeightsError(MovinetError):
    """Weights that cannot be read or do not fit the network.

    ``missing``, ``extra`` and ``misshapen`` name all tensors; the message only some.
    """

    def __init__(
        self,
        message: str,
        missing: Sequence[str] = (),
        extra: Sequence[str] = (),
        misshapen: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.missing, self.extra, self.misshapen = list(missing), list(extra), list(misshapen)
