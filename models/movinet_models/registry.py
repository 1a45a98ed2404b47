"""Where published weights are, in the order in which they are tried, and what they reach.

Weights of the same training are at several places, since each has stopped to answer before:
Google's at Kaggle (the successor of tfhub.dev), the hub and the Model Garden's bucket, and
conversions of the hub's for PyTorch. A row is a file, not a page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from movinet_models.family import Gate

KINETICS_600, KINETICS_400 = "kinetics-600", "kinetics-400"
DATASETS = (KINETICS_600, KINETICS_400)
KINDS = ("kaggle", "hub", "garden", "pytorch", "huggingface")
LAYOUTS = (".tar.gz", ".pth", ".tflite")

LICENCE = "Apache-2.0"
GARDEN = "https://storage.googleapis.com/tf_model_garden/vision/movinet"
GARDEN_PAGE = "https://github.com/tensorflow/models/tree/master/official/projects/movinet"
HUB = "https://tfhub.dev/tensorflow/movinet"
HUB_LITE = "https://tfhub.dev/tensorflow/lite-model/movinet"
KAGGLE = "https://www.kaggle.com/api/v1/models/google/movinet"
KAGGLE_PAGE = "https://www.kaggle.com/models/google/movinet"
PYTORCH = "https://github.com/Atze00/MoViNet-pytorch"
HUGGING_FACE = "https://huggingface.co"
PORTS = {"a0": "kfkas/movinet-a0-stream-pytorch"}  # by member: conversions of the stream form


@dataclass(frozen=True)
class Source:
    """A file with weights that can be downloaded.

    Attributes:
        kind: who gives it out: one of ``KINDS``.
        url: what is downloaded, https; at Hugging Face the repository's list of files, which
            names it.
        file: its name in the cache; the ending tells the layout, one of ``LAYOUTS``. Where an
            archive arrives for a ``.tflite``, its only such member is the file.
        dataset: what the weights were trained on, one of ``DATASETS``.
        licence: of the weights, as their publisher states it.
        gate: the hard sigmoid they were trained with; None: they have none, or it is not known.
        sha256: of the file, where it is known.
        page: where a person gets it in a browser.
    """

    kind: str
    url: str
    file: str
    dataset: str
    licence: str
    gate: Gate | None
    sha256: str | None = None
    page: str = ""


def _kinetics600(member: str, form: Literal["stream", "base"]) -> tuple[Source, ...]:
    gate: Gate | None = "fifth" if form == "stream" else None
    name = f"movinet_{member}_{form}"
    # The two numbers are those under which Kaggle has each form's newest upload.
    variation = f"{member}-{form}-kinetics-600-classification"
    version = 2 if form == "stream" else 3
    google = [
        Source(
            "kaggle",
            f"{KAGGLE}/tensorFlow2/{variation}/{version}/download",
            f"{name}_kaggle.tar.gz",
            KINETICS_600,
            LICENCE,
            gate,
            page=f"{KAGGLE_PAGE}/tensorFlow2/{variation}/{version}",
        ),
        Source(
            "hub",
            f"{HUB}/{member}/{form}/kinetics-600/classification/3?tf-hub-format=compressed",
            f"{name}_hub.tar.gz",
            KINETICS_600,
            LICENCE,
            gate,
            page=f"{HUB}/{member}/{form}/kinetics-600/classification/3",
        ),
        Source(
            "garden",
            f"{GARDEN}/{name}.tar.gz",
            f"{name}.tar.gz",
            KINETICS_600,
            LICENCE,
            gate,
            page=GARDEN_PAGE,
        ),
    ]
    if form == "stream" and member not in ("a0", "a1", "a2"):
        return tuple(google)  # the port has no more of them
    infix = "_stream" if form == "stream" else ""
    weights = f"model{member.upper()}{infix}_statedict_v3"
    port = Source(
        "pytorch",
        f"{PYTORCH}/raw/main/weights/{weights}",
        f"{weights}.pth",
        KINETICS_600,
        "MIT",  # the repository's; it converted Google's
        gate,
        page=f"{PYTORCH}/tree/main/weights",
    )
    rows = (*google, port)
    if form == "stream" and member in PORTS:
        rows += (_hugging_face(name, PORTS[member], gate),)
    return rows


def _hugging_face(name: str, repository: str, gate: Gate | None) -> Source:
    """Last: what is in the file is not known until it is read."""
    return Source(
        "huggingface",
        f"{HUGGING_FACE}/api/models/{repository}",
        f"{name}_huggingface.pth",
        KINETICS_600,
        "not stated",
        gate,
        page=f"{HUGGING_FACE}/{repository}",
    )


def _kinetics400(member: str) -> Source:
    name = f"movinet_{member}_base_k400.tar.gz"
    return Source("garden", f"{GARDEN}/{name}", name, KINETICS_400, LICENCE, None, page=GARDEN_PAGE)


def _lite(member: str, sha256: str | None = None) -> tuple[Source, ...]:
    """Google's int8 files: networks of their own, without squeeze-excitation."""
    variation = f"{member}-stream-kinetics-600-classification-tflite-int8"
    handle = f"{HUB_LITE}/{member}/stream/kinetics-600/classification/tflite/int8/1"
    file = f"movinet_{member}_stream_int8.tflite"
    return (
        Source(
            "kaggle",
            f"{KAGGLE}/tfLite/{variation}/1/download",
            file,
            KINETICS_600,
            LICENCE,
            None,
            sha256,
            f"{KAGGLE_PAGE}/tfLite/{variation}/1",
        ),
        Source(
            "hub",
            f"{handle}?lite-format=tflite",
            file,
            KINETICS_600,
            LICENCE,
            None,
            sha256,
            handle,
        ),
    )


A0LITE_SHA256 = "6125b36e2485eeb5cc1fd6206cf5e5d70235593fbc84610d1dce97fe3aa9c2ac"
STREAM_TOP1 = {"a0": 72.05, "a1": 76.45, "a2": 78.40, "a3": 80.09, "a4": 81.49, "a5": 82.37}
BASE_TOP1 = {"a0": 72.28, "a1": 76.69, "a2": 78.62, "a3": 81.79, "a4": 83.48, "a5": 84.27}
MEMBERS = tuple(STREAM_TOP1)

SOURCES: dict[str, tuple[Source, ...]] = {
    **{f"{member}-stream": _kinetics600(member, "stream") for member in MEMBERS},
    **{
        f"{member}-base": (*_kinetics600(member, "base"), _kinetics400(member))
        for member in MEMBERS
    },
    "a0lite-stream": _lite("a0", A0LITE_SHA256),
    "a1lite-stream": _lite("a1"),
    "a2lite-stream": _lite("a2"),
}
"""By model id, in the order in which they are tried; ids that the family lacks are possible."""

TOP1: dict[str, float] = {
    **{f"{member}-stream": top1 for member, top1 in STREAM_TOP1.items()},
    **{f"{member}-base": top1 for member, top1 in BASE_TOP1.items()},
    "a0lite-stream": 65.0,
    "a1lite-stream": 70.0,
    "a2lite-stream": 72.0,
}
"""Kinetics-600 top-1 accuracy in percent, as published."""


def sources(
    model_id: str, dataset: str | None = None, kinds: Sequence[str] = ()
) -> tuple[Source, ...]:
    """Return a model's rows, in the order in which they are tried.

    Args:
        model_id: an id such as ``a0-stream``.
        dataset: only those trained on it; None: all.
        kinds: only these kinds; empty: all.
    """
    return tuple(
        source
        for source in SOURCES.get(model_id, ())
        if dataset in (None, source.dataset) and (not kinds or source.kind in kinds)
    )


def by_sha256(digest: str) -> Source | None:
    """Return the row of a file, however it came here."""
    rows = (row for rows in SOURCES.values() for row in rows)
    return next((row for row in rows if row.sha256 == digest), None)
