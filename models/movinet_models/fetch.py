"""Bring published weights into the cache: from the table's sources, an address, or by hand.

    pull("a0-stream")                 the first source of the table that answers
    adopt(Path("x.tar.gz"), ...)      a file that a person brought, checked
    cached("a0-stream")               what is there already
    download("https://...")           any other address

Every file is checked by its content, by the checksum of the table where it has one, and by
the checksum of its first download. Needs the extra ``movinet-models[pull]``.
"""

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from movinet_models.archive import take_member
from movinet_models.cache import Record, Slot, cache_folder, sha256
from movinet_models.errors import FetchError, WeightsError
from movinet_models.family import MODEL_IDS
from movinet_models.huggingface import file_address
from movinet_models.layouts import Content, Layout, begins, layout
from movinet_models.registry import (
    DATASETS,
    KINDS,
    KINETICS_600,
    SOURCES,
    Source,
    sources,
)
from movinet_models.transfer import LIMITS, Limits, UnavailableError, forget, transfer
from movinet_models.urls import (
    AddressError,
    checked,
    direct,
    file_name,
    is_url,
    redacted,
    without_user,
)
from movinet_runtime.errors import UsageError

__all__ = [
    "LIMITS",
    "FetchError",
    "Fetched",
    "Limits",
    "Progress",
    "UnavailableError",
    "adopt",
    "cached",
    "download",
    "is_url",
    "pull",
    "redacted",
    "silent",
]

BY_HAND = "by-hand"
# What the sources of a kind give out.
CONTENTS: dict[str, tuple[Content, ...]] = {
    "kaggle": ("savedmodel", "tflite"),
    "hub": ("savedmodel", "tflite"),
    "garden": ("checkpoint",),
    "pytorch": ("torch",),
    "huggingface": ("torch",),
}

Progress = Callable[[str, int, int | None], None]
"""Called with what is done, the bytes that are there, and how many there will be (or None)."""

Check = Callable[[Path, str, str], None]
"""Called with a file, a model's id and a data set; raises a WeightsError if they do not fit."""


def silent(what: str, done: int, total: int | None) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Fetched:
    """Weights on this machine.

    Attributes:
        path: the file in the cache.
        sha256: of the file.
        url: where it came from, without user, password and query; or "by hand: NAME".
        source: its row of the table; None: an address that the user gave.
    """

    path: Path
    sha256: str
    url: str
    source: Source | None

    @property
    def licence(self) -> str:
        """The licence of the weights as their publisher states it."""
        return "not stated" if self.source is None else self.source.licence


def pull(
    model_id: str,
    dataset: str = KINETICS_600,
    kinds: Sequence[str] = (),
    progress: Progress = silent,
    *,
    again: bool = False,
    limits: Limits = LIMITS,
) -> Fetched:
    """Return published weights, from the cache or the first source that gives them.

    Args:
        model_id: an id such as ``a0-stream``.
        dataset: what the weights were trained on.
        kinds: the kinds of sources to try; empty: all. The table's order stays.
        progress: see :data:`Progress`.
        again: download even what is there, and take a file that has changed.
        limits: see :class:`Limits`.

    Raises:
        UsageError: an unknown model, data set or kind.
        FetchError: no source gave them; lists what was tried and what to do by hand. Or a
            file is not the one that was downloaded before, or the cache cannot be written.
    """
    model_id, rows = _rows(model_id, dataset, kinds)
    if not again:
        found = cached(model_id, dataset, kinds)
        if found is not None:
            return found
    by_hand = Slot(cache_folder() / model_id / dataset / BY_HAND)
    failures: list[tuple[Source, str]] = []
    for row in rows:
        slot = _slot(model_id, row)
        try:
            fetched = _obtain(slot, row.url, row, progress, again, limits)
        except UnavailableError as error:
            failures.append((row, str(error)))
            progress(f"{row.kind}: {error}", 0, None)
            continue
        if again:  # what was brought by hand would come before it
            shutil.rmtree(by_hand.folder, ignore_errors=True)
        return fetched
    raise FetchError(_all_failed(model_id, dataset, failures))


def cached(model_id: str, dataset: str = KINETICS_600, kinds: Sequence[str] = ()) -> Fetched | None:
    """Return weights that are in the cache and as they came, without any network.

    A file that was brought by hand comes first, then the table's order.

    Raises:
        UsageError: an unknown model, data set or kind.
    """
    model_id, rows = _rows(model_id, dataset, kinds)
    by_hand = Slot(cache_folder() / model_id / dataset / BY_HAND)
    kept = by_hand.kept()
    if kept is not None:
        path, record = kept
        row = next((row for row in rows if row.kind == record.kind), None)
        if row is not None:
            return Fetched(path, record.sha256, record.url, row)
    for row in rows:
        kept = _slot(model_id, row).kept()
        if kept is not None and row.sha256 in (None, kept[1].sha256):
            return Fetched(kept[0], kept[1].sha256, kept[1].url, row)
    return None


def download(
    url: str, progress: Progress = silent, *, again: bool = False, limits: Limits = LIMITS
) -> Fetched:
    """Return the file of any https address (http to this machine), from the cache if it is there.

    Handles of tfhub.dev and pages of Kaggle's models mean their archives.

    Raises:
        FetchError: it cannot be downloaded, is no file of weights, or has changed.
    """
    try:
        url = direct(checked(url.strip()))
    except AddressError as error:
        raise FetchError(str(error)) from error
    # By the query too, which may name the file, but not by who asks.
    clean, _ = without_user(url)
    digest = hashlib.sha256(clean.encode(errors="replace")).hexdigest()[:16]
    slot = Slot(cache_folder() / "urls" / digest)
    if not again:
        kept = slot.kept()
        if kept is not None:
            return Fetched(kept[0], kept[1].sha256, kept[1].url, None)
    try:
        return _obtain(slot, url, None, progress, again, limits)
    except UnavailableError as error:
        raise UnavailableError(f"cannot download {redacted(url)}: {error}") from error


def adopt(
    file: Path,
    model_id: str,
    dataset: str = KINETICS_600,
    kinds: Sequence[str] = (),
    progress: Progress = silent,
    check: Check | None = None,
) -> Fetched:
    """Check a file that a person brought, and copy it into the cache.

    Its content tells which source of the table it is from; ``kinds`` narrows that. ``check``
    reads the weights and raises a WeightsError if they are not the model's; without it, only
    the kind of file and a known checksum are checked.

    Raises:
        UsageError: an unknown model, data set or kind.
        FetchError: it is none of the model's published files.
    """
    model_id, rows = _rows(model_id, dataset, kinds)
    if not file.is_file():
        raise FetchError(f"no file {file}")
    progress(f"checking {file.name}", 0, None)
    try:
        found = layout(file)
    except WeightsError as error:
        raise FetchError(f"cannot take {file}: {error}") from error
    fitting = [row for row in rows if _fits(found, row)]
    if not fitting:
        known = ", ".join(f"{row.file} ({row.kind})" for row in rows)
        raise FetchError(
            f"cannot take {file}: it is {_described(found)}, but {model_id} ({dataset}) is "
            f"published as {known}"
        )
    slot = Slot(cache_folder() / model_id / dataset / BY_HAND)
    copy = slot.folder / f"adopted{_suffix(fitting[0].file)}"
    with slot.locked(LIMITS.wait):
        try:
            _copy(file, copy, found, fitting[0])
            digest = sha256(copy)
            row = next((row for row in fitting if row.sha256 in (None, digest)), None)
            if row is None:
                raise FetchError(
                    f"cannot take {file}: its sha256 is {digest}, "
                    f"that of {fitting[0].file} is {fitting[0].sha256}"
                )
            if check is not None:
                progress(f"reading the weights in {file.name}", 0, None)
                check(copy, model_id, dataset)
            url = f"by hand: {file_name(file.as_posix())}"
            record = Record(
                row.file, url, digest, copy.stat().st_size, _now(), None, row.kind, by_hand=True
            )
            return Fetched(slot.keep(copy, record), digest, url, row)
        except OSError as error:
            raise FetchError(f"cannot copy {file} to {slot.folder}: {error.strerror}") from error
        except WeightsError as error:
            raise FetchError(f"cannot take {file}: {error}") from error
        finally:
            copy.unlink(missing_ok=True)


def _rows(model_id: str, dataset: str, kinds: Sequence[str]) -> tuple[str, tuple[Source, ...]]:
    """Return a model's id in its one spelling, and its rows; none is an error."""
    model_id = model_id.lower().removeprefix("movinet_").replace("_", "-")
    if dataset not in DATASETS:
        raise UsageError(f"unknown data set '{dataset}'; known: {', '.join(DATASETS)}")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise UsageError(f"unknown source '{unknown[0]}'; known: {', '.join(KINDS)}")
    found = sources(model_id, dataset, kinds)
    if found:
        return model_id, found
    all_rows = sources(model_id)
    if all_rows:
        offered = ", ".join(dict.fromkeys(f"{row.kind} ({row.dataset})" for row in all_rows))
        raise UsageError(f"{model_id} is not to be had so; its sources: {offered}")
    if model_id in MODEL_IDS:
        raise UsageError(
            f"nobody publishes weights for {model_id}: give --weights to movinet export"
        )
    raise UsageError(f"unknown model '{model_id}'; published: {', '.join(SOURCES)}")


def _slot(model_id: str, row: Source) -> Slot:
    return Slot(cache_folder() / model_id / row.dataset / row.kind)


def _obtain(
    slot: Slot, url: str, row: Source | None, progress: Progress, again: bool, limits: Limits
) -> Fetched:
    """Download into a slot, check what came, and keep it."""
    what = f"{row.kind}: {row.file}" if row else redacted(url)
    progress(what, 0, None)
    waiting = f"{what}: another process downloads it"
    with slot.locked(limits.wait, lambda: progress(waiting, 0, None)):
        kept = slot.kept()
        if kept is not None and not again and (row is None or row.sha256 in (None, kept[1].sha256)):
            return Fetched(kept[0], kept[1].sha256, kept[1].url, row)  # another process was first
        if row is not None and row.kind == "huggingface":
            url = file_address(url, limits)
        etag = transfer(
            url, slot.part, _refuse, lambda done, total: progress(what, done, total), limits
        )
        try:
            name = _settle(slot.part, row, url)
        except WeightsError as error:
            forget(slot.part)
            raise UnavailableError(str(error).replace(str(slot.part), "the archive")) from error
        digest, before = sha256(slot.part), slot.record()
        published = None if row is None else row.sha256
        if published not in (None, digest):
            forget(slot.part)
            raise UnavailableError(f"its sha256 is {digest}, not {published} as it should be")
        trusted = again or published is not None
        if before is not None and before.sha256 != digest and not trusted:
            forget(slot.part)
            raise FetchError(_changed(slot, url, before, digest))
        record = Record(
            name,
            redacted(url),
            digest,
            slot.part.stat().st_size,
            _now(),
            etag,
            row.kind if row else "",
        )
        return Fetched(slot.keep(slot.part, record), digest, record.url, row)


def _refuse(head: bytes) -> None:
    try:
        begins(head)
    except WeightsError as error:
        raise UnavailableError(str(error)) from error


def _settle(part: Path, row: Source | None, url: str) -> str:
    """Check what came against its row, take a .tflite out of its archive, and name it."""
    found = layout(part)
    if row is not None:
        if not _fits(found, row):
            raise WeightsError(f"{_described(found)} instead of {row.file}")
        if found.suffix != _suffix(row.file):
            _unwrap(part)
        return row.file
    if found == Layout(".tar.gz", "tflite"):
        _unwrap(part)
        found = Layout(".tflite", "tflite")
    name = file_name(url)
    return name if name.endswith(found.suffix) else name + found.suffix


def _unwrap(part: Path) -> None:
    inner = part.with_suffix(".inner")
    try:
        take_member(part, ".tflite", inner)
        layout(inner)
        inner.replace(part)
    finally:
        inner.unlink(missing_ok=True)


def _fits(found: Layout, row: Source) -> bool:
    """Whether a file is what a row gives out; a .tflite may come in an archive."""
    wrapped = found == Layout(".tar.gz", "tflite") and row.file.endswith(".tflite")
    plain = row.file.endswith(found.suffix) and found.content in CONTENTS[row.kind]
    return wrapped or (plain and not (found.content == "tflite" and found.suffix == ".tar.gz"))


def _suffix(file: str) -> str:
    return ".tar.gz" if file.endswith(".tar.gz") else Path(file).suffix


def _described(found: Layout) -> str:
    names = {
        "savedmodel": "a SavedModel",
        "checkpoint": "a TensorFlow checkpoint",
        "tflite": "a TFLite file",
        "torch": "a PyTorch file",
        "keras": "a Keras file",
        "npz": "a NumPy file",
    }
    return f"{names[found.content]} ({found.suffix})"


def _copy(file: Path, copy: Path, found: Layout, row: Source) -> None:
    if found.suffix != _suffix(row.file):
        take_member(file, ".tflite", copy)
        return
    with file.open("rb") as source, copy.open("wb") as target:
        while chunk := source.read(1 << 20):
            target.write(chunk)


def _changed(slot: Slot, url: str, before: Record, digest: str) -> str:
    return (
        f"{redacted(url)} is not the file that it was on {before.date[:10]}: "
        f"its sha256 was {before.sha256}, is {digest}; if that is right, take it with --again, "
        f"or remove {slot.record_path}"
    )


def _all_failed(model_id: str, dataset: str, failures: Sequence[tuple[Source, str]]) -> str:
    width = max(len(row.kind) for row, _ in failures)
    tried = [f"  {row.kind:{width}}  {redacted(row.url)}: {why}" for row, why in failures]
    chosen = "" if dataset == KINETICS_600 else f" --dataset {dataset}"
    page = next((row.page for row, _ in failures if row.page), failures[0][0].url)
    return "\n".join(
        [
            f"no source gave weights for {model_id} ({dataset}):",
            *tried,
            "by hand:",
            f"  open {page} in a browser and download the file",
            f"  movinet pull {model_id}{chosen} --from FILE",
        ]
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
