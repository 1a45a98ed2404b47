"""Which part of a file a client wants: ``Range`` of RFC 9110, 14.2."""

import re

RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def part(header: str, size: int) -> tuple[int, int] | None:
    """Return begin and end of the bytes that are wanted.

    None: all of them, also for a header that is none or asks for several parts. An empty part
    cannot be satisfied.
    """
    match = RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size
