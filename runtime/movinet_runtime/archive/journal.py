"""What is finished, in a file beside the output: a line a piece, appended as it comes.

A process that is killed leaves at most half of its last line, which is cut off. Lines are told by
the key of their piece, so that a file is found again by content, options and model.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from movinet_runtime.errors import OutputError, UsageError
from movinet_runtime.files import writing

HEAD = {"movinet label": 1}
DONE = {"done": True}
OUTPUT = "output"  # of a line: how many files the output held when it was last written


@dataclass(frozen=True)
class Part:
    """What a piece gave.

    Attributes:
        rows: number of the first frame, number of frames, and labels by number with their
            probabilities: the best ones, or for events those above their lower threshold.
        error: why it ended early.
        seconds: spent, by stage.
        seen: frames, with the lead-in.
    """

    rows: list[tuple[int, int, list[tuple[int, float]]]]
    error: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    seen: int = 0


class Journal:
    """Finished pieces on disk; only where they lie is kept in memory.

    Args:
        path: of the file.
        resume: go on with what is there; else begin anew, unless it is unfinished.

    Attributes:
        told: files that the output held when it was last written, by this run or one before.

    Raises:
        UsageError: an unfinished journal without ``resume``, another process writes it.
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        self.path, self.told = path, 0
        self._places: dict[bytes, int] = {}
        with writing(path):
            self._file: BinaryIO = path.open("a+b")
        try:
            _lock(self._file, path)
            finished, end = self._read()
            if not resume and self._places and not finished:
                raise UsageError(
                    f"{path} holds what a run that was cut short has finished: --resume goes on, "
                    "or remove it"
                )
            if not resume:
                self._places.clear()
                end = 0
            with writing(path):
                self._file.truncate(end)
                self._file.seek(0, os.SEEK_END)
                if not end:
                    self._line(HEAD)
                    self.tell(self.told)
        except BaseException:
            self._file.close()
            raise

    def __len__(self) -> int:
        """How many pieces are finished."""
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return bytes.fromhex(key) in self._places

    def add(self, key: str, part: Part) -> None:
        """Append a finished piece.

        Raises:
            OutputError: the disk is full.
        """
        with writing(self.path):
            place = self._line({"key": key} | asdict(part))
        self._places[bytes.fromhex(key)] = place

    def tell(self, files: int) -> None:
        """Note how many files the output holds.

        Raises:
            OutputError: the disk is full.
        """
        self.told = files
        with writing(self.path):
            self._line({OUTPUT: files})

    def part(self, key: str) -> Part:
        """Read a finished piece."""
        self._file.seek(self._places[bytes.fromhex(key)])
        found = json.loads(self._file.readline())
        return Part(found["rows"], found["error"], found["seconds"], found["seen"])

    def close(self, done: bool) -> None:
        """Let go of the file; note if nothing is missing, remove it if all is."""
        with writing(self.path), self._file:
            if done:
                self._line(DONE)
            elif not self._places:
                self.path.unlink(missing_ok=True)

    def _line(self, content: Any) -> int:
        place = self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(content, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        return place

    def _read(self) -> tuple[bool, int]:
        """Find whole lines; return whether the last one says done, and where they end.

        What could not be read is left out, since it may be readable by now.
        """
        self._file.seek(0)
        end, finished = 0, False
        for line in self._file:
            try:
                found = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                found = None
            if not isinstance(found, dict) or (end == 0 and found != HEAD):
                break
            finished = found == DONE
            self.told = found.get(OUTPUT, self.told)
            if "key" in found and found["error"] is None:
                self._places[bytes.fromhex(found["key"])] = end
            end += len(line)
        if end == 0 and self._file.tell():
            raise OutputError(f"{self.path} is no journal of movinet label: remove it")
        return finished, end


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # no such locks here
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UsageError(f"another movinet label writes {path}") from None
