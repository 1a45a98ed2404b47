"""Reads damaged weights of every kind in one process: ``python -m tests.hostile_weights FOLDER``.

Prints a JSON line a case: its name, and the class and text of what was raised, or nulls.
"""

import json
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from movinet_convert import flatbuffer, stream_graph
from movinet_convert.parameters import random_weights
from movinet_convert.quantize import TRANSFORMS, Statistics
from movinet_convert.sources import load_weights
from movinet_convert.sources.keras import save_npz
from movinet_models.family import lookup
from movinet_runtime.errors import MovinetError
from tests.pth import save_weights
from tests.saved_model import save
from tests.test_weights import garden_path, write_checkpoint

SPEC = lookup("t0-stream").at(32)
TIMES = {"tflite": 150, "int8": 100, "pth": 150, "npz": 60, "checkpoint": 60, "hub": 60}
MEMORY = 12 << 30


def whole(folder: Path) -> dict[str, Path]:
    """One sound source of each kind; a folder for those of several files."""
    weights = random_weights(SPEC, 3)
    graph = stream_graph.build(SPEC, weights)
    sources = {"tflite": folder / "float.tflite", "int8": folder / "int8.tflite"}
    for variant, path in (("float32", sources["tflite"]), ("dynamic-si8", sources["int8"])):
        changed = TRANSFORMS[variant](graph, Statistics())
        path.write_bytes(flatbuffer.serialize(changed, "x", {}))
    sources["pth"] = save_weights(weights, folder / "weights.pth")
    sources["npz"] = folder / "weights.npz"
    save_npz(load_weights("random", SPEC, 3), sources["npz"])
    (folder / "checkpoint").mkdir()
    paths = {garden_path(name, SPEC): value for name, value in weights.items()}
    write_checkpoint(folder / "checkpoint" / "ckpt", paths)
    sources["checkpoint"] = folder / "checkpoint"
    sources["hub"] = save(folder / "hub", SPEC, weights)
    return sources


def damaged(source: Path, rng: np.random.Generator, i: int) -> None:
    """Change bytes of a file or of one of a folder's, or cut it."""
    files = [source] if source.is_file() else [f for f in source.rglob("*") if f.stat().st_size > 9]
    files = sorted(file for file in files if file.is_file())
    file = files[int(rng.integers(len(files)))]
    content = bytearray(file.read_bytes())
    # Structure lies at the ends: directories of archives, tables of flatbuffers.
    size = len(content)
    span = size if i % 3 == 0 else min(size, 60_000)
    start = 0 if i % 2 else size - span
    for at in rng.integers(start, start + span, int(rng.integers(1, 9))):
        content[int(at)] = int(rng.integers(256))
    if i % 7 == 0:
        del content[int(rng.integers(size)) :]
    file.write_bytes(content)


def cases(folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    rng = np.random.default_rng(13)
    for kind, source in whole(folder).items():
        for i in range(TIMES[kind]):
            copy = folder / f"copy{source.suffix}"
            shutil.rmtree(copy, ignore_errors=True)
            if source.is_dir():
                shutil.copytree(source, copy)
            else:
                shutil.copyfile(source, copy)
            damaged(copy, rng, i)
            yield f"{kind} {i}", lambda copy=copy: load_weights(str(copy), SPEC)  # type: ignore[misc]


def run(folder: Path) -> None:
    """Read them all."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for name, read in cases(folder):
        raised, text = None, None
        try:
            read()
        except MovinetError as error:
            raised, text = "MovinetError", str(error)
        except BaseException as error:
            raised, text = type(error).__name__, str(error)
        print(json.dumps([name, raised, text]), flush=True)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
