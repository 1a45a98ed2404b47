"""Which clips training may see: split by recording, and remembered by what is in the files."""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from movinet_runtime.errors import UsageError

# File names of clips that were cut from one recording, as data sets have them; what the groups of
# the pattern match is the recording.
NAMES_OF_RECORDINGS = (
    re.compile(r"(.*_g\d+)_c\d+"),  # UCF101: v_Archery_g08_c01
    re.compile(r"(.{11})_\d{6}_\d{6}"),  # Kinetics: ID_START_END
)
# What movinet mine cuts: its source's name and a mark of its content, START-END in seconds.
MINED = re.compile(r"((.*)-[0-9a-f]{8})_\d{5,}\.\d{3}-\d{5,}\.\d{3}")
SAMPLE = 1 << 16  # bytes at both ends of a file that its fingerprint looks at
Key = TypeVar("Key")


def recordings(paths: Sequence[Path], pattern: str | None = None) -> tuple[list[str], str | None]:
    """Name the recording that each clip was cut from.

    Args:
        paths: of all clips.
        pattern: a regular expression that is searched for in a file's name without its suffix;
            what its groups match, or all of the match, names the recording. None: a pattern
            of :data:`NAMES_OF_RECORDINGS` that fits all names, of cut clips those of their
            sources; else each clip is its own, or its source's.

    Returns:
        A name for each clip, and the pattern that was used.

    Raises:
        UsageError: the pattern is none, or does not occur in some name.
    """
    if pattern is not None:
        try:
            wanted = re.compile(pattern)
        except re.error as error:
            raise UsageError(f"--group {pattern} is no regular expression: {error}") from error
        found = [wanted.search(path.stem) for path in paths]
        lost = next((p for p, match in zip(paths, found, strict=True) if match is None), None)
        if lost is not None:
            raise UsageError(f"--group {pattern} does not occur in {lost.name}")
        parts = [tuple(g for g in m.groups() if g is not None) or (m[0],) for m in found if m]
        return ["|".join(part) for part in parts], pattern
    cut = [MINED.fullmatch(path.stem) for path in paths]
    stems = [mined[2] if mined else path.stem for mined, path in zip(cut, paths, strict=True)]
    for known in NAMES_OF_RECORDINGS:
        matches = [known.fullmatch(stem) for stem in stems]
        if paths and all(matches):
            return [match[1] for match in matches if match], known.pattern
    # Cut clips may lie beside others, each of which is a recording of its own.
    names = [mined[1] if mined else str(path) for mined, path in zip(cut, paths, strict=True)]
    return names, MINED.pattern if any(cut) else None


def held_back(
    labels: Sequence[str], groups: Sequence[Key], share: float, seed: int = 0
) -> list[bool]:
    """Choose clips to keep back from training, whole groups at a time.

    Groups are taken in a random order where they fit into the shares of their classes; none is
    taken that would leave a class nothing to learn from.

    Args:
        labels: of each clip.
        groups: of each clip; a group may hold several classes.
        share: of each class, 0 to 1; at least one clip of each with two groups.
        seed: of the order.

    Returns:
        For each clip, whether it is kept back. Clips of a group have the same answer.
    """
    content: dict[Key, Counter[str]] = {}
    for label, group in zip(labels, groups, strict=True):
        content.setdefault(group, Counter())[label] += 1
    wanted = {label: max(1, round(share * n)) for label, n in Counter(labels).items()}
    left, kept = Counter(labels), Counter[str]()
    names = list(content)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    taken: set[Key] = set()

    def take(group: Key) -> None:
        taken.add(group)
        kept.update(content[group])
        left.subtract(content[group])

    def spares(group: Key) -> bool:
        return all(left[label] > count for label, count in content[group].items())

    for group in order:
        fits = all(kept[label] + n <= wanted[label] for label, n in content[group].items())
        if fits and spares(group):
            take(group)
    # A class whose recordings are all too long for its share gives its shortest one.
    for label in sorted(wanted):
        able = [g for g in order if label in content[g] and g not in taken and spares(g)]
        if not kept[label] and able:
            take(min(able, key=lambda g: content[g].total()))
    return [group in taken for group in groups]


def fingerprint(path: Path) -> int:
    """Name a clip's file by its content, in 32 bits: it stays the same under another name.

    A folder of images is known by its files' names and sizes, and by its first and last.

    Raises:
        OSError: it cannot be read.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
        listed = [(file.name, file.stat().st_size) for file in files]
        ends = [fingerprint(file) for file in (*files[:1], *files[-1:])]
        return _digest([repr((listed, ends)).encode()])
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(SAMPLE)
        file.seek(max(0, size - SAMPLE))
        return _digest([str(size).encode(), head, file.read(SAMPLE)])


def packed(fingerprints: Iterable[int]) -> str:
    """Write fingerprints as text, base64 of sorted uint32 (little endian)."""
    return base64.b64encode(np.unique(np.array([*fingerprints], "<u4")).tobytes()).decode()


def unpacked(text: object) -> frozenset[int]:
    """Read what :func:`packed` wrote.

    Raises:
        UsageError: it is something else.
    """
    try:
        raw = base64.b64decode(str(text), validate=True)
        return frozenset(np.frombuffer(raw, "<u4").tolist())
    except ValueError as error:  # binascii's is one
        raise UsageError("the list of training clips in the model's file is damaged") from error


def _digest(parts: Iterable[bytes]) -> int:
    digest = hashlib.blake2b(digest_size=4)
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")
