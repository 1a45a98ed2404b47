"""A benchmark's report: what is in it, and how it is read back (docs/benchmarks.md).

The classes are the schema: msgspec checks JSON against them when a report is read, and also
when it is written, so that what is not a number (JSON has no NaN) never leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from movinet_benchmarks.arm.emulate import Emulation
from movinet_benchmarks.environment import Environment
from movinet_benchmarks.fidelity import Measures
from movinet_benchmarks.statistics import Summary
from movinet_benchmarks.timing import Start
from movinet_runtime.errors import UsageError

SCHEMA, VERSION = "movinet-bench", 2

Count = Annotated[int, Meta(ge=0)]
Natural = Annotated[int, Meta(ge=1)]
Positive = Annotated[float, Meta(gt=0)]
Samples = Annotated[list[Positive], Meta(min_length=1)]


@dataclass(frozen=True)
class Run:
    """How the times were measured: ``rounds`` steps in each of ``processes``.

    Attributes:
        pace: frames a second; None: one right after the other.
        commit: of the code or the models, by whatever name; None: not known.
        date: when it began, ISO 8601; the clock is this machine's, not a board's.
        host: the board's address; None: here, or several (:attr:`Report.boards`).
    """

    clip: str
    rounds: Natural
    processes: Natural
    pace: Positive | None = None
    commit: str | None = None
    date: str | None = None
    host: str | None = None


@dataclass(frozen=True)
class StreamFidelity:
    """How true a variant is on short streams, and on a long one."""

    short: Measures
    long: Measures


@dataclass(frozen=True)
class Variant:
    """One model on one engine with one number of threads.

    Attributes:
        samples_ms: of each process, in the order of measurement.
        fps: the model's frame rate.
        frames_per_second: how many it could take.
        real_time_factor: how many times faster than ``fps`` that is.
        fidelity: to the float32 file; None: not measured.
        arm: by emulated core.
        board: the address of the one that it ran on, of several; None: there is only one.
    """

    name: str
    engine: str
    threads: Natural
    samples_ms: Annotated[list[Samples], Meta(min_length=1)]
    step_ms: Summary
    start: Start
    file_bytes: Natural
    state_bytes: Count
    ops: Natural
    partitions: Count
    ops_outside: dict[str, Count]
    fps: Positive
    frames_per_second: Positive
    real_time_factor: Positive
    fidelity: StreamFidelity | None
    arm: dict[str, Emulation]
    board: str | None = None

    @property
    def key(self) -> str:
        """Its name with what it ran on."""
        where = "" if self.board is None else f" on {self.board}"
        if self.engine == "auto" and self.threads == 1:
            return self.name + where
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.name} ({self.engine}, {threads}){where}"

    @property
    def sqnr_db(self) -> float | None:
        """The worse of its streams; None where it was not measured."""
        both = self.fidelity
        # Python's min might lose NaN.
        return None if both is None else float(np.min((both.short.sqnr_db, both.long.sqnr_db)))


@dataclass(frozen=True)
class Board:
    """One of several boards: what it is, or why it measured nothing."""

    address: str
    environment: Environment | None
    error: str | None


@dataclass(frozen=True)
class Report:
    """What ``movinet bench`` found out.

    Attributes:
        environment: of the only machine, or of the first board that answered.
        boards: of several, each; else empty.
    """

    schema: Literal["movinet-bench"]
    version: Literal[2]
    run: Run
    environment: Environment
    variants: Annotated[list[Variant], Meta(min_length=1)]
    boards: list[Board] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """Why boards measured nothing, a line for each of them."""
        return [board.error for board in self.boards if board.error is not None]

    def by_board(self) -> list["Report"]:
        """Return a report of each board that answered; itself where there is only one."""
        if not self.boards:
            return [self]
        return [
            replace(
                self,
                run=replace(self.run, host=board.address),
                environment=board.environment,
                variants=[
                    replace(v, board=None) for v in self.variants if v.board == board.address
                ],
                boards=[],
            )
            for board in self.boards
            if board.environment is not None
        ]

    @property
    def cores(self) -> list[str]:
        """The emulated cores that some variant ran on, in their order."""
        return list(dict.fromkeys(core for variant in self.variants for core in variant.arm))


@dataclass(frozen=True)
class _Head:
    """What every version of a report has."""

    schema: str
    version: int


def new_report(
    run: Run,
    environment: Environment,
    variants: Sequence[Variant],
    boards: Sequence[Board] = (),
) -> Report:
    """Put a report of today's version together."""
    return Report("movinet-bench", 2, run, environment, list(variants), list(boards))


def encoded(report: Report) -> bytes:
    """Return a report as JSON.

    Raises:
        UsageError: something in it is no number.
    """
    content = msgspec.json.encode(report)
    try:
        msgspec.json.decode(content, type=Report)
    except msgspec.ValidationError as error:
        raise UsageError(f"the report would not be one: {error}") from error
    return msgspec.json.format(content, indent=1) + b"\n"


def decoded(content: bytes) -> Report:
    """Read a report.

    Raises:
        UsageError: no JSON, another kind of file, another version, or a part of it is
            missing or of another type; the message says which.
    """
    try:
        head = msgspec.json.decode(content, type=_Head)
    except msgspec.ValidationError:
        head = _Head("", 0)
    except msgspec.DecodeError as error:
        raise UsageError(f"it is not JSON: {error}") from error
    if head.schema != SCHEMA:
        raise UsageError("it is no report of movinet bench --json")
    if head.version != VERSION:
        raise UsageError(f"it is of version {head.version}, this is {VERSION}: measure again")
    try:
        return msgspec.json.decode(content, type=Report)
    except msgspec.ValidationError as error:
        raise UsageError(str(error)) from error


def read_report(path: Path) -> Report:
    """Read a report and check all of it.

    Raises:
        UsageError: unreadable, or see :func:`decoded`.
    """
    try:
        return decoded(path.read_bytes())
    except (OSError, UsageError) as error:
        raise UsageError(f"cannot read the report {path}: {error}") from error
