"""Where the published weights are, and what their authors measured.

All were trained on Kinetics-600 by Google and are licensed Apache-2.0.
"""

from dataclasses import dataclass

LICENCE = "Apache-2.0"
GARDEN = "https://storage.googleapis.com/tf_model_garden/vision/movinet"
HUB = "https://tfhub.dev/tensorflow/movinet"


@dataclass(frozen=True)
class Published:
    """Weights that can be downloaded.

    Attributes:
        hub: handle for tensorflow-hub; ``movinet export`` takes it by default.
        checkpoint: the same training as a Model Garden checkpoint.
        top1: Kinetics-600 top-1 accuracy in percent, as published; None: not stated.
    """

    hub: str
    checkpoint: str
    top1: float | None = None


def _published(member: str, form: str, top1: float | None = None) -> Published:
    return Published(
        hub=f"{HUB}/{member}/{form}/kinetics-600/classification/3",
        checkpoint=f"{GARDEN}/movinet_{member}_{form}.tar.gz",
        top1=top1,
    )


STREAM_TOP1 = {"a0": 72.05, "a1": 76.45, "a2": 78.40, "a3": 80.09, "a4": 81.49, "a5": 82.37}

PUBLISHED: dict[str, Published] = {
    f"{member}-stream": _published(member, "stream", top1) for member, top1 in STREAM_TOP1.items()
} | {f"{member}-base": _published(member, "base") for member in STREAM_TOP1}
