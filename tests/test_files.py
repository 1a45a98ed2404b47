"""Outputs: whole files or none, modes kept, special files written into."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from movinet_runtime.errors import OutputError
from movinet_runtime.files import writing, written_whole


def write(path: Path, text: str = "new") -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_modes_are_kept_and_new_files_obey_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0o027)
    monkeypatch.setattr(os, "umask", None)  # nobody may touch it: it is every thread's
    try:
        old, new = tmp_path / "old.csv", tmp_path / "new.csv"
        old.touch(0o600)
        old.chmod(0o604)
        write(old)
        write(new)
        assert (mode(old), mode(new)) == (0o604, 0o640)
        assert old.read_text() == new.read_text() == "new"
    finally:
        monkeypatch.undo()
        os.umask(before)


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target.csv", tmp_path / "link.csv"
    target.write_text("old")
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.csv", "target.csv"]


def test_a_fifo_is_written_into(tmp_path: Path) -> None:
    fifo = tmp_path / "pipe.csv"
    os.mkfifo(fifo)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(fifo.read_text()), daemon=True)
    reader.start()
    write(fifo)
    reader.join(10)
    assert found == ["new"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_dev_null_stays_a_device() -> None:
    write(Path("/dev/null"))
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("redirected", [True, False])
def test_standard_output_by_its_name(tmp_path: Path, redirected: bool) -> None:
    """What was printed before and after stays, in a file as in a pipe."""
    code = (
        "import pathlib; from movinet_runtime.files import writing, written_whole\n"
        "print('before', flush=True)\n"
        "with written_whole(pathlib.Path('/dev/stdout')) as t: t.write_text('inside\\n')\n"
        "print('after', flush=True)\n"
    )
    if redirected:
        with (tmp_path / "out").open("wb") as out:
            subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
        text = (tmp_path / "out").read_text()
    else:
        text = subprocess.run(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
    assert text == "before\ninside\nafter\n"


def test_long_names_and_names_that_cannot_be(tmp_path: Path) -> None:
    longest = tmp_path / ("n" * 251 + ".csv")
    write(longest)
    assert longest.read_text() == "new"
    folder = tmp_path / "folder.csv"
    folder.mkdir()
    for path in (folder, tmp_path / "gone" / "a.csv", Path("/dev/full")):
        with pytest.raises(OutputError, match=f"cannot write {path}: "):
            write(path)
    assert list(folder.iterdir()) == []


def test_an_error_of_the_block_is_this_outputs(tmp_path: Path) -> None:
    """Whoever writes, a full disk is one line; what has a name of its own keeps it."""
    path, other = tmp_path / "a.tflite", tmp_path / "b.csv"
    with pytest.raises(OutputError, match=f"cannot write {path}: No space left on device"):
        fill(path)
    with pytest.raises(OutputError, match=f"cannot write {other}: No space left on device"):
        fill(path, other)
    with pytest.raises(BrokenPipeError), written_whole(path):
        raise BrokenPipeError
    assert list(tmp_path.iterdir()) == []


def fill(path: Path, inner: Path | None = None) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with written_whole(path):
        if inner is None:
            raise full
        with writing(inner):
            raise full
