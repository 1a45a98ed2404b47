"""Ask Linux for huge pages, mostly of 2 MiB, under a model's weights.

A step reads all weights once. In pages of 4 KiB that is thousands of misses of the address
cache in every frame: a tenth of a step. The kernel gives huge pages to whoever asks, unless
its administrator chose ``never`` (Documentation/admin-guide/mm/transhuge.rst).
"""

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from movinet_runtime.files import kernel_text

POLICY = Path("/sys/kernel/mm/transparent_hugepage/enabled")
PAGE_SIZE = POLICY.with_name("hpage_pmd_size")  # 32 MiB where small pages are of 16 KiB: a Pi 5
MAPS, SMAPS = Path("/proc/self/maps"), Path("/proc/self/smaps")
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25  # the second since Linux 6.1: now, not by and by
MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ (\d+)", re.MULTILINE)
RESIDENT = re.compile(r"^Rss:\s+(\d+) kB", re.MULTILINE)
Range = tuple[int, int]


@contextmanager
def in_huge_pages() -> Iterator[None]:
    """Move the memory that the block comes to use into huge pages, where there are any."""
    policy, page = kernel_text(POLICY), kernel_text(PAGE_SIZE)
    wanted = bool(policy and page) and "[never]" not in policy
    before = [(start, end) for start, end, _ in _mappings(kernel_text(MAPS))] if wanted else []
    yield
    if wanted:
        for start, end in new_ranges(before, kernel_text(SMAPS), int(page)):
            _collapse(start, end)


def new_ranges(before: list[Range], smaps: str, page: int) -> list[Range]:
    """Return what private, anonymous, mostly resident mappings have more than before.

    Cut to whole huge pages. What is mostly not resident (stacks of threads) stays as it is:
    huge pages would fill it.

    Args:
        before: the mappings' addresses before, sorted.
        smaps: the present text of /proc/self/smaps.
        page: bytes in a huge page.
    """
    found = []
    for start, end, block in _mappings(smaps):
        resident = RESIDENT.search(block)
        if resident is None or int(resident[1]) * 1024 < 0.5 * (end - start):
            continue
        for old_start, old_end in before:
            if old_start < end and start < old_end:
                found.append((start, old_start))
                start = old_end
        found.append((start, end))
    whole = [(-(-start // page) * page, end // page * page) for start, end in found]
    return [(start, end) for start, end in whole if start < end]


def _mappings(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and description of mappings that are private, writable, of no file."""
    matches = list(MAPPING.finditer(text))
    ends = [match.start() for match in matches[1:]] + [len(text)]
    for match, end in zip(matches, ends, strict=False):
        if match[3] == "rw-p" and match[4] == "0":
            yield int(match[1], 16), int(match[2], 16), text[match.end() : end]


def _collapse(start: int, end: int) -> None:
    """Only advice: a refusal changes nothing but the speed."""
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    madvise(start, end - start, MADV_HUGEPAGE)
    madvise(start, end - start, MADV_COLLAPSE)
