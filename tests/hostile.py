"""Runs hostile files through the command line in one process: ``python -m tests.hostile FOLDER``.

Prints a JSON line a case: its name, exit code, and all lines on standard error, those of
native code included. A case that kills the process is the one that has no line.
"""

import json
import os
import resource
import sys
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from movinet_runtime import StreamClassifier
from movinet_runtime.cli import main
from tests.small import DESCRIPTION, SIDE, small_bytes, small_model

MODELS, STATES = 450, 200
MEMORY = 6 << 30  # bytes: who asks for more is refused, and must say so in a line
VALUES: list[Any] = [
    None, True, 0, -1, -5, 1, 7, 2**31, 2**63, 10**400, 0.0, -0.0, 0.5, 1e-300, 1e300, -1e300,
    "", "x", "1", "fast", "\x00", "\ud800", "[/b]", "\x1b[2J", "a" * 100_000, [], {}, [[]],
    [None], [1, 2, 3], ["a", "b", "c"], ["a", "b", 3], ["\ud800"] * 3, {"source": 1},
    {"source": None}, {"source": "\ud800"}, {"": ""}, float("nan"), float("inf"),
]  # fmt: skip


def models(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Bytes changed, cut out, put in."""
    rng = np.random.default_rng(14)
    whole = small_bytes()
    for i in range(MODELS):
        content = bytearray(whole)
        for _ in range(int(rng.integers(1, 9))):
            content[int(rng.integers(0, len(content)))] = int(rng.choice([0, 1, 127, 255, 64]))
        at = int(rng.integers(0, len(content)))
        if i % 9 == 0:
            del content[at:]
        elif i % 9 == 1:
            del content[at : at + int(rng.integers(1, 64))]
        elif i % 9 == 2:
            content[at:at] = rng.bytes(int(rng.integers(1, 64)))
        path = folder / "mutated.tflite"
        path.write_bytes(content)
        yield from through(f"model {i}", path, folder)


def descriptions(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Every field with every value, and the whole."""
    path = folder / "described.tflite"
    for i, value in enumerate(VALUES):
        for field in ("version", "model", "classes", "labels", "fps", "horizon", "in_place"):
            path.write_bytes(small_bytes(DESCRIPTION | {field: value}))
            yield from through(f"{field} = value {i}", path, folder)
        for whole in (value, DESCRIPTION | {"weights": value}):
            path.write_bytes(small_bytes(whole))
            yield from through(f"description {i}", path, folder)


def states(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Archives with bytes changed, and entries with bytes changed in sound archives."""
    rng = np.random.default_rng(15)
    classifier = StreamClassifier(small_model(folder / "small.tflite"))
    saved = folder / "saved.npz"
    classifier.save_state(saved)
    whole, path = saved.read_bytes(), folder / "mutated.npz"
    with zipfile.ZipFile(saved) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    for i in range(STATES):
        if i % 2:
            content = bytearray(whole)
            for _ in range(int(rng.integers(1, 9))):
                content[int(rng.integers(0, len(content)))] = int(rng.integers(0, 256))
            path.write_bytes(content if i % 5 else content[: int(rng.integers(0, len(content)))])
        else:
            changed = {name: bytearray(data) for name, data in entries.items()}
            chosen = changed[list(changed)[int(rng.integers(0, len(changed)))]]
            for _ in range(int(rng.integers(1, 5))):
                chosen[int(rng.integers(0, len(chosen)))] = int(rng.integers(0, 256))
            with zipfile.ZipFile(path, "w") as archive:
                for name, data in changed.items():
                    archive.writestr(name, bytes(data))
        words = ["run", str(folder / "a.png"), "-m", str(folder / "small.tflite")]
        yield f"state {i}", [*words, "--load-state", str(path)]


def through(name: str, model: Path, folder: Path) -> Iterator[tuple[str, list[str]]]:
    yield f"{name}, inspect", ["inspect", str(model), "--tensors"]
    yield f"{name}, run", ["run", str(folder / "a.png"), "-m", str(model), "-k", "2"]


def outcome(words: list[str], errors: int) -> tuple[Any, list[str]]:
    """Run the command; return its exit code and what it wrote to the descriptor 2."""
    os.ftruncate(errors, 0)
    sys.argv = ["movinet", *words]
    code: Any = None
    with redirect_stdout(StringIO()):
        try:
            main.main()
        except SystemExit as end:
            code = end.code
        except BaseException as error:
            code = f"{type(error).__name__}: {error}"
    sys.stderr.flush()
    said = os.pread(errors, 100_000, 0).decode(errors="replace")
    return code, said.splitlines()


def all_cases(folder: Path) -> Iterator[tuple[str, list[str]]]:
    yield from models(folder)
    yield from descriptions(folder)
    yield from states(folder)


def run(folder: Path) -> None:
    Image.new("RGB", (SIDE, SIDE), (250, 9, 9)).save(folder / "a.png")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(1), "w")
    errors = os.open(folder / "errors", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.dup2(errors, 2)
    for name, words in all_cases(folder):
        code, said = outcome(words, errors)
        print(json.dumps([name, code, said]), file=answers, flush=True)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
