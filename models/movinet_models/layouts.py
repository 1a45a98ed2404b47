"""Tell what a file of weights is by its content, and refuse what is none."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from movinet_models.archive import LIMITS, members
from movinet_models.errors import WeightsError
from movinet_models.transfer import HEAD

Content = Literal["savedmodel", "checkpoint", "tflite", "torch", "keras", "npz"]

GZIP, ZIP, TFLITE = b"\x1f\x8b", b"PK\x03\x04", b"TFL3"


@dataclass(frozen=True)
class Layout:
    """What a file is.

    Attributes:
        suffix: the ending that its name should have.
        content: what is in it.
    """

    suffix: str
    content: Content


def begins(head: bytes) -> None:
    """Refuse a file by its first bytes, before the rest has come.

    Raises:
        WeightsError: no file of weights begins so; says what does.
    """
    if head.startswith((GZIP, ZIP)) or head[4:8] == TFLITE:
        return
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        what = "an empty file"
    elif text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        what = "an HTML page (of a login, or an error)"
    elif text.startswith(b"<"):
        what = "a message in XML"
    elif text.startswith((b"{", b"[")):
        what = "a message in JSON"
    elif text.startswith(b"version https://git-lfs"):
        what = "a pointer of Git LFS"
    else:
        what = "something else"
    raise WeightsError(f"{what} instead of weights (.tar.gz, .pth, .tflite, .keras, .npz)")


def layout(path: Path) -> Layout:
    """Tell what a whole file is; archives are read to their end.

    Raises:
        WeightsError: it is no file of weights, damaged, or refused.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror}") from error
    begins(head)
    if head.startswith(GZIP):
        return Layout(".tar.gz", _archived(members(path)))
    if head.startswith(ZIP):
        return _zipped(path)
    return Layout(".tflite", "tflite")


def _archived(names: list[str]) -> Content:
    """Tell what an archive holds."""
    files = [name.rpartition("/")[2] for name in names]
    if "saved_model.pb" in files:
        return "savedmodel"
    if any(name.endswith(".index") for name in files):
        return "checkpoint"
    if any(name.endswith(".tflite") for name in files):
        return "tflite"
    raise WeightsError(
        f"an archive of {len(names)} files with neither a SavedModel, a checkpoint nor a .tflite"
    )


def _zipped(path: Path) -> Layout:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise WeightsError("a zip file that is damaged or cut off") from error
    if len(infos) > LIMITS.members or sum(info.file_size for info in infos) > LIMITS.unpacked:
        raise WeightsError("a zip file that unpacks to more than weights need")
    names = [info.filename for info in infos]
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return Layout(".pth", "torch")
    if {"config.json", "model.weights.h5"} <= set(names):
        return Layout(".keras", "keras")
    if names and all(name.endswith(".npy") for name in names):
        return Layout(".npz", "npz")
    raise WeightsError("a zip file of neither PyTorch, Keras nor NumPy")
