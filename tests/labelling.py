"""Films, clusters and workers for tests of movinet label."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main", "label"]


def film(path: Path, seconds: float = 2.0, fps: int = 10, seed: int = 0) -> Path:
    """Encode plain frames whose colour changes at random, each second."""
    import av

    rng = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.thread_count = 1
        for i in range(round(seconds * fps)):
            if i % fps == 0:
                colour = rng.integers(0, 256, 3)
            picture = np.broadcast_to(colour, (48, 64, 3)).astype(np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def archive(folder: Path, files: int, damaged: int = 0) -> Path:
    """Fill a folder with films of 2 s; some of them are no films."""
    folder.mkdir()
    for i in range(files):
        film(folder / f"{i:04d}.mp4", seed=i)
    for i in range(damaged):
        (folder / f"{i * files // damaged + 3:04d}.mp4").write_bytes(b"no film" * i)
    return folder


def label(*arguments: object, code: int = 0) -> dict[str, Any]:
    """Run ``movinet label --json``; return what it printed."""
    command = [*MOVINET, *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout) if code == 0 else {"said": done.stderr}
    return found


def finished(journal: Path) -> int:
    """How many pieces a journal holds by now."""
    return journal.read_bytes().count(b'"key"') if journal.exists() else 0


def killed_at(
    count: int, journal: Path, *arguments: object, who: Callable[[int], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command, and kill it when the journal holds so many pieces.

    Args:
        count: of pieces.
        journal: of the run.
        arguments: of the command.
        who: kills instead, given the command's process.
    """
    command = [*MOVINET, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: finished(journal) >= count or process.poll() is not None)
        assert process.poll() is None, "it was done before it could be killed"
        (who or (lambda pid: os.kill(pid, signal.SIGKILL)))(process.pid)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def wait_for(true: Callable[[], Any], seconds: float = 120.0) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    """The processes that a process has started and that work for it."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    names = {int(one): Path(f"/proc/{one}/cmdline").read_bytes() for one in listed}
    return [one for one, name in names.items() if b"spawn_main" in name]


@contextmanager
def cluster(folder: Path, workers: int = 2) -> Iterator[tuple[Path, list[Any]]]:
    """A Dask scheduler and workers on loopback: the scheduler file, and the processes."""
    file = folder / "scheduler.json"
    local = ("--host", "127.0.0.1", "--no-dashboard")
    dask = [sys.executable, "-m", "dask"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    places = [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]  # of tasks below
    quiet["env"] = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    begin = [*dask, "scheduler", "--port", "0", "--scheduler-file", str(file), *local]
    running = [subprocess.Popen(begin, cwd=folder, **quiet)]
    try:
        wait_for(file.exists)
        join = [*dask, "worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny"]
        running += [subprocess.Popen([*join, *local], cwd=folder, **quiet) for _ in range(workers)]
        wait_for_workers(file, workers)
        yield file, running
    finally:
        for process in running:
            process.kill()
            process.wait()


def wait_for_workers(file: Path, count: int) -> None:
    import distributed

    with distributed.Client(scheduler_file=str(file), set_as_default=False) as client:
        client.wait_for_workers(count, timeout=60)


def double(value: int) -> int:
    """A task."""
    return 2 * value


def deadly(value: int) -> int:
    """A task that kills its process when it is 3."""
    if value == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * value


def deadly_once(task: tuple[int, str]) -> int:
    """A task that kills the first process that tries it."""
    value, mark = task
    if value == 3 and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * value
