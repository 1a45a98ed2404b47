"""Lists of clips as others write them: lines ``path label``.

Pure functions from text to values and back.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from movinet_runtime.errors import UsageError

QUOTE = '"'
# What lies beside a downloaded video (.json, .jpg, .part) has its name too, and is none.
VIDEO_SUFFIXES = (".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".webm", ".wmv")


@dataclass(frozen=True)
class ListedClip:
    """A line of a ``path label`` list.

    Attributes:
        path: as it is written.
        label: a class's name, or its index in the model's labels.
        line: its number, from 1.
    """

    path: str
    label: str | int
    line: int = 0


def parse_list(text: str, name: str) -> list[ListedClip]:
    """Read lines ``path label``, as mmaction2 and others write them.

    The path ends at the first space or tab; the rest of the line is the label. Digits alone
    are an index into the model's labels. Either may stand in double quotes (a quote inside
    is doubled): a path with spaces needs them, and a class whose name is a number.

    Args:
        text: the whole file.
        name: the file's, for errors.

    Raises:
        UsageError: a line is not like that; it is named.
    """
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.strip(" \t\r")
        if not line:
            continue
        where = f"{name}, line {number}"
        path, rest = _first_word(line, where)
        rest = rest.strip(" \t")
        if not path or not rest:
            raise UsageError(f"{where}: needs 'path label', this is '{line}'")
        found.append(ListedClip(path, _label(rest, where), number))
    return found


def format_list(clips: Iterable[ListedClip]) -> str:
    """Write the lines that :func:`parse_list` reads.

    Raises:
        UsageError: a path or a label that no line can hold.
    """
    lines = []
    for clip in clips:
        label = str(clip.label)
        if not clip.path or not label or "\n" in clip.path + label:
            raise UsageError(f"no line can hold '{clip.path}' and '{label}'")
        path = _quoted(clip.path) if _needs_quotes(clip.path, spaces=True) else clip.path
        if isinstance(clip.label, str) and (_needs_quotes(label) or _is_index(label)):
            label = _quoted(label)
        lines.append(f"{path} {label}\n")
    return "".join(lines)


def _first_word(line: str, where: str) -> tuple[str, str]:
    if line.startswith(QUOTE):
        return _unquoted(line, where)
    end = next((i for i, c in enumerate(line) if c in " \t"), len(line))
    return line[:end], line[end:]


def _unquoted(text: str, where: str) -> tuple[str, str]:
    """Return what stands in the quotes at the start of a text, and the rest."""
    inside, at = [], 1
    while True:
        end = text.find(QUOTE, at)
        if end < 0:
            raise UsageError(f"{where}: a quote is not closed")
        inside.append(text[at:end])
        if not text.startswith(QUOTE, end + 1):
            return QUOTE.join(inside), text[end + 1 :]
        at = end + 2


def _label(text: str, where: str) -> str | int:
    if not text.startswith(QUOTE):
        return int(text) if _is_index(text) else text
    label, rest = _unquoted(text, where)
    if rest or not label:
        raise UsageError(f"{where}: the label is not quoted as a whole")
    return label


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _needs_quotes(text: str, spaces: bool = False) -> bool:
    inner = any(c in text for c in " \t") if spaces else False
    return inner or text.startswith(QUOTE) or text != text.strip(" \t\r")


def _quoted(text: str) -> str:
    return QUOTE + text.replace(QUOTE, QUOTE + QUOTE) + QUOTE
