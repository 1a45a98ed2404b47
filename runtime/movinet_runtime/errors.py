"""What can go wrong for a user, each with one line that says what to do next.

MovinetError                 anything the command line reports without a traceback; other
│                            packages derive their own from it
├── UsageError               options that do not fit together, an unknown name
│   ├── CompiledEngineError  the installed LiteRT has no such engine
│   └── ConfigError          a configuration of 'movinet watch' that says what it may not
├── MissingPackageError      a part that is not installed; names the pip line
├── ModelFileError           a .tflite that cannot be read or is no stream model
├── StateError               a state that does not fit the model
├── SourceError              a video, camera or stream that gives no frames
│   └── LostError            a live one that stayed lost
├── WorkersError         a worker or its scheduler that is not there, or is not as it must be
├── OutputError              an output that cannot be written
└── LabelsError              labels that do not fit the logits
"""


class MovinetError(Exception):
    """Base of all errors that are the input's fault, not the program's.

    ``exit_code`` is what the command line ends with: 2, or 1 where a proof or a gate failed.
    """

    exit_code = 2


class UsageError(MovinetError):
    """Options that do not fit together, or a name that nobody knows."""


class CompiledEngineError(UsageError):
    """The installed LiteRT has no compiled model, or cannot make one of this file."""


class ConfigError(UsageError):
    """A configuration file that cannot be read, or says what it may not; names line and key."""


class MissingPackageError(MovinetError):
    """A part of the toolkit, or a library of its, is not installed."""


class ModelFileError(MovinetError):
    """A model file that cannot be read, or is not what the caller needs."""


class StateError(MovinetError):
    """A state whose names, shapes or dtypes are not the model's."""


class SourceError(MovinetError):
    """A source of frames that cannot be opened or gives no frames."""


class NoFramesError(SourceError):
    """A source that can be read and has no frames, or none where they were looked for."""


class LostError(SourceError):
    """A live source that gave frames, or was asked for some, and stayed silent too long."""


class WorkersError(MovinetError):
    """Processes or machines for the work that cannot be reached, went away, or differ."""


class OutputError(MovinetError):
    """An output that cannot be written: a full disk, a missing folder, no such format."""


class LabelsError(MovinetError):
    """Labels that cannot be read or do not match the logits."""
