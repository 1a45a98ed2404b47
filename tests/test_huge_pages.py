"""Weights in huge pages: which addresses are meant, and that the kernel gives them."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from movinet_runtime import huge_pages
from movinet_runtime.files import kernel_text
from movinet_runtime.huge_pages import PAGE_SIZE, POLICY, new_ranges

MB = 1 << 20
PAGE = 2 * MB


def mapping(start: int, size: int, resident: int, perms: str = "rw-p", inode: int = 0) -> str:
    head = f"{start:x}-{start + size:x} {perms} 00000000 00:00 {inode}"
    return f"{head}\nSize: {size // 1024} kB\nRss: {resident // 1024} kB\nVmFlags: rd wr\n"


def kernel_release() -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", platform.release())[:2])


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
    assert new_ranges(before, smaps, PAGE) == [
        (heap + 6 * MB, heap + 20 * MB),
        (weights + 2 * MB, weights + 8 * MB),
    ]
    grown_downwards = [(weights + 6 * MB, weights + 9 * MB + 4096)]
    found = new_ranges([*before, *grown_downwards], smaps, PAGE)
    assert found[1:] == [(weights + 2 * MB, weights + 6 * MB)]
    assert new_ranges([(heap, heap + 20 * MB), (weights, weights + 16 * MB)], smaps, PAGE) == []
    assert new_ranges([], "", PAGE) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        pytest.param(None, "", id="all-there"),
        pytest.param("POLICY", None, id="another-system"),
        pytest.param("POLICY", "always madvise [never]\n", id="forbidden"),
        pytest.param("PAGE_SIZE", None, id="no-such-pages"),
        pytest.param("SMAPS", None, id="hidden-by-a-sandbox"),
        pytest.param("PAGE_SIZE", f"{1 << 40}\n", id="pages-too-large"),
    ],
)
def test_only_where_the_kernel_offers_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str | None, text: str | None
) -> None:
    weights = (512 * MB, 520 * MB)
    kernel: dict[str, str | None] = {
        "POLICY": "always [madvise] never\n",
        "PAGE_SIZE": f"{PAGE}\n",
        "MAPS": "",
        "SMAPS": mapping(weights[0], 8 * MB, 8 * MB),
    }
    if file is not None:
        kernel[file] = text
    for name, content in kernel.items():
        monkeypatch.setattr(huge_pages, name, tmp_path / name)
        if content is not None:
            (tmp_path / name).write_text(content)
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(huge_pages, "_collapse", lambda start, end: asked.append((start, end)))
    with huge_pages.in_huge_pages():
        pass
    assert asked == ([weights] if file is None else [])


def test_file_names_of_any_bytes_do_no_harm(tmp_path: Path) -> None:
    smaps = tmp_path / "smaps"
    smaps.write_bytes(mapping(512 * MB, 8 * MB, 8 * MB).encode() + b"/tmp/caf\xe9\n")
    assert new_ranges([], kernel_text(smaps), PAGE) == [(512 * MB, 520 * MB)]


def test_weights_lie_in_huge_pages(stream_model: Path) -> None:
    if not PAGE_SIZE.exists() or "[never]" in POLICY.read_text():
        pytest.skip("this kernel gives no huge pages")
    if int(PAGE_SIZE.read_text()) != PAGE:
        pytest.skip("huge pages are larger than this model's weights")
    if kernel_release() < (6, 1):
        pytest.skip("before Linux 6.1 the kernel makes huge pages by and by")
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
