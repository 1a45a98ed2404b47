"""What can go wrong with weights.

MovinetError                 (movinet-runtime)
├── WeightsError             weights that cannot be read or do not fit the network
│   └── NotFiniteError       weights that hold NaN or infinity
└── FetchError               weights that could not be downloaded, or are not what they were
"""

from collections.abc import Sequence

from movinet_runtime.errors import MovinetError


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


class NotFiniteError(WeightsError):
    """Weights that hold NaN or infinity: nothing that they compute can be proven."""

    exit_code = 1


class FetchError(MovinetError):
    """Weights that no source gave, or a download that is not what it should be."""
