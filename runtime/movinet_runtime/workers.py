"""Where work is done: processes of this machine, or the workers of a Dask cluster.

    for index, found in results("local", function, tasks):
        ...

One function, :func:`results`; whoever calls it need not know where its tasks are run. A function
is sent by its name, so it must be one of a module, and tasks must be picklable.
"""

import asyncio
import json
import logging
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, Generic, TypeVar

from movinet_runtime.engines import physical_cores
from movinet_runtime.errors import MissingPackageError, UsageError, WorkersError
from movinet_runtime.install import install_hint
from movinet_runtime.quiet import hide_native_messages_at_exit

T = TypeVar("T")
R = TypeVar("R")

TRIES = 3  # a task whose worker dies is tried elsewhere, twice at most
CONNECT = 10.0  # seconds that a scheduler has to answer
LOOK = 0.5  # seconds after which a silent scheduler is asked how it is
CLOSE = 3.0  # seconds to say goodbye
COUNT = 5.0  # seconds after which workers are counted anew
Facts = Mapping[str, str]


@dataclass(frozen=True)
class Lost:
    """What a task has for a result whose worker died each time.

    Attributes:
        reason: a line for people.
    """

    reason: str


@dataclass
class _Task(Generic[T]):
    index: int
    value: T
    tries: int = 0


class _Tasks(Generic[T]):
    """Tasks in order, those of dead workers first."""

    def __init__(self, values: Iterable[T | None]) -> None:
        self._values = iter(values)
        self._count = 0
        self.again: deque[_Task[T]] = deque()
        self.over = False

    def take(self) -> _Task[T] | None:
        """Return the next; None: there is none now."""
        if self.again:
            return self.again.popleft()
        if self.over:
            return None
        try:
            value = next(self._values)
        except StopIteration:
            self.over = True
            return None
        if value is None:
            return None
        self._count += 1
        return _Task(self._count - 1, value)


def results(
    where: str,
    function: Callable[[T], R],
    tasks: Iterable[T | None],
    facts: Callable[[], Facts] | None = None,
    expected: Facts | None = None,
) -> Iterator[tuple[int, R | Lost]]:
    """Run a function on each task, and yield what comes back as it comes.

    No more tasks are taken than workers are free, so that memory does not grow with their number.

    Args:
        where: ``local`` (a process for each physical core), ``local:N`` or ``N`` processes,
            ``dask://HOST:PORT``, or the path of a Dask scheduler file.
        function: of a module; runs in the workers. What it raises ends everything.
        tasks: picklable; may depend on results that were yielded before. None among them means
            that there is none until another result has come.
        facts: of a module or partial; told by each worker of a cluster before the first task.
        expected: what they have to be.

    Yields:
        Number of the task, from 0, and its result; :class:`Lost` where each worker that tried
        died.

    Raises:
        UsageError: no such place.
        WorkersError: the scheduler does not answer or went away, a worker's facts differ.
        MissingPackageError: Dask is not installed.
    """
    count = local_processes(where)
    if count is None:
        yield from _on_dask(where, function, tasks, facts, expected)
    else:
        yield from _on_processes(count, function, tasks)


def in_order(found: Iterable[tuple[int, R]]) -> Iterator[R]:
    """Yield results in the order of their tasks; what comes early waits in memory."""
    early: dict[int, R] = {}
    turn = 0
    for index, result in found:
        early[index] = result
        while turn in early:
            yield early.pop(turn)
            turn += 1


def local_processes(where: str) -> int | None:
    """Return how many processes of this machine a place means; None: it is a cluster.

    Raises:
        UsageError: neither.
    """
    if where == "local":
        return physical_cores()
    number = where.removeprefix("local:")
    if number.isdecimal() and number.isascii() and int(number) > 0:
        return int(number)
    if where.startswith("dask://") and not where.rpartition(":")[2].rstrip("/").isdecimal():
        raise UsageError(f"--on {where} names no port; Dask's schedulers listen on 8786")
    if "://" in where or where.endswith(".json") or Path(where).is_file():
        return None
    raise UsageError(
        f"--on is local, a number of processes, dask://HOST:PORT or a scheduler file, not '{where}'"
    )


class _Process:
    """A process that runs one task at a time: whoever dies, dies of this one."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, context, _begin)
        self._pid = self._pool.submit(os.getpid)

    def submit(self, function: Callable[[T], R], value: T) -> "Future[R]":
        return self._pool.submit(function, value)

    @property
    def began(self) -> bool:
        """Whether it came as far as running anything."""
        return self._pid.exception() is None

    def end(self) -> None:
        """End it at once, whatever it does."""
        if self._pid.done() and not self._pid.cancelled() and self._pid.exception() is None:
            with suppress(ProcessLookupError):
                os.kill(self._pid.result(), signal.SIGKILL)
        # Its thread is waited for: at the interpreter's exit both would close the same pipe.
        self._pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """Leave signals of the terminal to the parent, never outlive it, and end in silence."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    hide_native_messages_at_exit()
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()


def _on_processes(
    count: int, function: Callable[[T], R], values: Iterable[T | None]
) -> Iterator[tuple[int, R | Lost]]:
    tasks = _Tasks(values)
    free: list[_Process] = []
    running: dict[Future[R], tuple[_Process, _Task[T]]] = {}
    try:
        while True:
            while len(running) < count and (task := tasks.take()) is not None:
                process = free.pop() if free else _Process()
                running[process.submit(function, task.value)] = process, task
            if not running:
                _check_over(tasks)
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                process, task = running.pop(future)
                try:
                    found: R | Lost = future.result()
                except BrokenProcessPool:
                    if not process.began:
                        raise WorkersError("no process for the work can be started here") from None
                    lost = _again(tasks, task)
                    if lost is None:
                        continue
                    found = lost
                else:
                    free.append(process)
                yield task.index, found
    finally:
        for process in [*free, *(process for process, _ in running.values())]:
            process.end()


def _check_over(tasks: _Tasks[T]) -> None:
    if not tasks.over:
        raise RuntimeError("tasks wait for results that nobody makes")


def _again(tasks: _Tasks[T], task: _Task[T]) -> Lost | None:
    task.tries += 1
    if task.tries < TRIES:
        tasks.again.append(task)
        return None
    return Lost(f"the process that worked on it died {TRIES} times")


def _on_dask(
    where: str,
    function: Callable[[T], R],
    values: Iterable[T | None],
    facts: Callable[[], Facts] | None,
    expected: Facts | None,
) -> Iterator[tuple[int, R | Lost]]:
    try:
        import distributed
    except ImportError as error:
        raise MissingPackageError(
            f"--on {where} needs Dask: {install_hint('movinet-runtime[dask]')}"
        ) from error
    _hush()
    tasks = _Tasks(values)
    with _connected(where) as client:
        _check_facts(where, client, facts, expected)
        running: dict[Any, _Task[T]] = {}
        workers = _Workers(where, client)
        while True:
            while len(running) < workers.threads() and (task := tasks.take()) is not None:
                future = client.submit(function, task.value, pure=False, retries=TRIES - 1)
                running[future] = task
            if not running:
                _check_over(tasks)
                return
            # Where the scheduler went, futures are cancelled.
            stopped = suppress(TimeoutError, CancelledError, asyncio.CancelledError)
            with client.as_current(), stopped:
                distributed.wait(list(running), timeout=LOOK, return_when="FIRST_COMPLETED")
            if client.status != "running":
                raise _gone(where)
            for future in [future for future in running if future.done()]:
                if future.status == "lost":  # with its worker, which made it; it is made anew
                    continue
                task = running.pop(future)
                try:
                    found = future.result()
                except distributed.KilledWorker:
                    found = Lost("the workers that worked on it died, one after the other")
                except (CancelledError, asyncio.CancelledError):
                    lost = _again(tasks, task)
                    if lost is None:
                        continue
                    found = lost
                yield task.index, found


def _hush() -> None:
    """Let Dask's loggers say nothing on this side: what matters is raised, as one line."""
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] in ("distributed", "tornado", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _gone(where: str) -> WorkersError:
    return WorkersError(f"the scheduler {where} is gone")


@contextmanager
def _connected(where: str) -> Iterator[Any]:
    """Connect to a scheduler, and let go of it however it is.

    Raises:
        WorkersError: it does not answer, or the file is none of a scheduler.
    """
    import distributed

    address = where.replace("dask://", "tcp://", 1)
    if "://" not in where:
        try:
            address = json.loads(Path(where).read_text("utf-8"))["address"]
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise WorkersError(f"{where} is no scheduler file of Dask: {error}") from None
    try:
        client = distributed.Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        reason = str(error).splitlines() or [type(error).__name__]
        raise WorkersError(f"no Dask scheduler answers at {where}: {reason[0]}") from None
    try:
        yield client
    finally:
        with suppress(TimeoutError, OSError, RuntimeError):
            client.close(timeout=CLOSE)


class _Workers:
    """How many tasks a cluster runs at once; workers come and go."""

    def __init__(self, where: str, client: Any) -> None:
        self._where, self._client = where, client
        self._counted, self._threads = 0.0, 0

    def threads(self) -> int:
        """Count them, not too often; wait for the first."""
        now = time.monotonic()
        if now - self._counted > COUNT or not self._threads:
            self._threads = sum(_asked(self._where, self._client.nthreads).values())
            self._counted = now
        return max(1, self._threads)


def _asked(where: str, question: Callable[[], Any]) -> Any:
    try:
        return question()
    except (OSError, TimeoutError, RuntimeError):
        raise _gone(where) from None


def _check_facts(
    where: str, client: Any, facts: Callable[[], Facts] | None, expected: Facts | None
) -> None:
    """Ask every worker for what has to be the same there as here.

    Raises:
        WorkersError: it differs, there are no workers, one of them cannot tell.
    """
    if not _asked(where, client.nthreads):
        with suppress(TimeoutError):
            client.wait_for_workers(1, timeout=CONNECT)
        if not _asked(where, client.nthreads):
            raise WorkersError(f"the scheduler {where} has no workers")
    if facts is None or expected is None:
        return
    told = _asked(where, partial(client.run, facts, on_error="return"))
    for worker, found in sorted(told.items()):
        if isinstance(found, BaseException):
            raise WorkersError(f"worker {worker} cannot do this work: {found}")
        for name, value in expected.items():
            if found.get(name) != value:
                raise WorkersError(
                    f"worker {worker} has {name} {found.get(name, 'not at all')}, "
                    f"here it is {value}: they must be the same"
                )
