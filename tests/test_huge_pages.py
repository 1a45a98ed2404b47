"""Weights in huge pages: which addresses are meant, and that the kernel gives them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from movinet_runtime import huge_pages
from movinet_runtime.huge_pages import PAGE, POLICY, new_ranges

MB = 1 << 20


def mapping(start: int, size: int, resident: int, perms: str = "rw-p", inode: int = 0) -> str:
    head = f"{start:x}-{start + size:x} {perms} 00000000 00:00 {inode}"
    return f"{head}\nSize: {size // 1024} kB\nRss: {resident // 1024} kB\nVmFlags: rd wr\n"


def test_only_new_resident_memory_is_meant() -> None:
    heap, weights = 64 * MB, 512 * MB
    smaps = (
        mapping(heap, 20 * MB, 20 * MB)
        + mapping(weights + 4096, 9 * MB, 9 * MB)
        + mapping(1024 * MB, 8 * MB, MB)  # a thread's stack
        + mapping(2048 * MB, 8 * MB, 8 * MB, "r--p")
        + mapping(3072 * MB, 8 * MB, 8 * MB, "rw-p", inode=7)
        + mapping(4096 * MB, MB, MB)
    )
    before = [(heap, heap + 5 * MB)]
    assert new_ranges(before, smaps) == [
        (heap + 6 * MB, heap + 20 * MB),
        (weights + 2 * MB, weights + 8 * MB),
    ]
    grown_downwards = [(weights + 6 * MB, weights + 9 * MB + 4096)]
    found = new_ranges([*before, *grown_downwards], smaps)
    assert found[1:] == [(weights + 2 * MB, weights + 6 * MB)]
    assert new_ranges([(heap, heap + 20 * MB), (weights, weights + 16 * MB)], smaps) == []
    assert new_ranges([], "") == []


def test_without_them_nothing_happens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another system, a kernel without huge pages, a sandbox that hides what they need."""
    for hidden in ("POLICY", "MAPS", "SMAPS"):
        monkeypatch.setattr(huge_pages, hidden, tmp_path / "nowhere")
        with huge_pages.in_huge_pages():
            block = bytes(4 * MB)
        assert len(block) == 4 * MB


def test_weights_lie_in_huge_pages(stream_model: Path) -> None:
    if not POLICY.exists() or "[never]" in POLICY.read_text():
        pytest.skip("this kernel gives no huge pages")
    script = (
        "import sys; from movinet_runtime import StreamClassifier; StreamClassifier(sys.argv[1]);"
        "print(open('/proc/self/smaps').read())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(stream_model)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    sizes = [int(size) << 10 for size in re.findall(r"AnonHugePages:\s+(\d+)", done.stdout)]
    assert sum(sizes) >= PAGE
