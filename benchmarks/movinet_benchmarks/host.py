"""Time models on a board over SSH: one command there, and the figures come home as JSON.

Models, frames and the two modules that measure travel as a tar archive on standard input.
The board needs the runtime, and nothing stays there.
"""

import io
import json
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import movinet_benchmarks
from movinet_benchmarks.timing import Frame, Start, Timed
from movinet_runtime.errors import MovinetError, UsageError

PACKAGE = "movinet_benchmarks"
MODULES = ("timing.py", "environment.py")
PYTHON = "~/movinet/bin/python"  # as docs/raspberry-pi.md installs it


class HostError(MovinetError):
    """The board cannot be reached, or what runs there fails."""


@dataclass(frozen=True)
class Host:
    """A board.

    Attributes:
        address: as ``ssh`` takes it, such as ``pi@raspberrypi.local``.
        python: that has movinet-runtime there.
    """

    address: str
    python: str = PYTHON


def time_on_host(
    host: Host,
    models: Mapping[str, Path],
    images: Sequence[Frame],
    rounds: int,
    engines: Sequence[str],
    threads: Sequence[int],
) -> tuple[list[Timed], dict[str, Any]]:
    """As :func:`movinet_benchmarks.timing.time_models`, on a board.

    Raises:
        HostError: with the last line that ssh or the board said.
    """
    arguments = [str(rounds), ",".join(engines), ",".join(map(str, threads))]
    # The python may begin with ~, so it is not quoted.
    script = (
        'd=$(mktemp -d) && trap \'rm -rf "$d"\' EXIT && cd "$d" && tar xf - && '
        f"{host.python} -m {PACKAGE}.timing . {shlex.join(arguments)}"
    )
    if host.address.startswith("-"):
        raise UsageError(f"--host is an address such as pi@raspberrypi.local, not {host.address}")
    ssh = shutil.which("ssh")
    if ssh is None:
        raise HostError("--host needs OpenSSH's client: there is no program ssh")
    command = [ssh, "-o", "BatchMode=yes", host.address, script]
    done = subprocess.run(command, input=_archive(models, images), capture_output=True)
    said = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode:
        raise HostError(f"{host.address}: {(said or ['no reason given'])[-1]}")
    try:
        answer = json.loads(done.stdout)
        names = list(models)
        timed = [
            Timed(**row | {"name": names[int(row["name"])], "start": Start(**row["start"])})
            for row in answer["timed"]
        ]
        return timed, dict(answer["environment"])
    except (ValueError, LookupError, TypeError) as error:
        raise HostError(f"{host.address} answered something else: {error}") from error


def _archive(models: Mapping[str, Path], images: Sequence[Frame]) -> bytes:
    frames = io.BytesIO()
    np.save(frames, np.stack(list(images)))
    files = {"frames.npy": frames.getvalue(), f"{PACKAGE}/__init__.py": b""}
    # By number: names may hold anything, as where two models are called the same.
    files |= {f"{i}.tflite": path.read_bytes() for i, path in enumerate(models.values())}
    package = Path(movinet_benchmarks.__file__).parent
    files |= {f"{PACKAGE}/{name}": (package / name).read_bytes() for name in MODULES}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
