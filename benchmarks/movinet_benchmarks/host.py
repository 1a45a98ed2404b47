"""Time models on a board over SSH: one command there, and the figures come home as JSON.

Models, frames and the modules that measure travel as a tar archive on standard input.
The board needs the runtime, and nothing stays there. A board that is not there, falls silent or
takes too long is given up.
"""

import io
import json
import shlex
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

import movinet_benchmarks
from movinet_benchmarks.environment import Environment
from movinet_benchmarks.process.race import Frame
from movinet_benchmarks.timing import Schedule, Timed
from movinet_runtime.errors import MovinetError, UsageError

PACKAGE = "movinet_benchmarks"
MODULES = ("timing.py", "environment.py", "process/*.py")
PYTHON = "~/movinet/bin/python"  # as docs/raspberry-pi.md installs it
# ssh gives up on an address that does not answer, and on one that fell silent for a minute.
CONNECT_SECONDS, ALIVE_SECONDS, ALIVE_TIMES = 15, 15, 4
LIMIT_SECONDS = 1800


class HostError(MovinetError):
    """The board cannot be reached, or what runs there fails."""


@dataclass(frozen=True)
class Host:
    """A board.

    Attributes:
        address: as ``ssh`` takes it, such as ``pi@raspberrypi.local``.
        python: that has movinet-runtime there.
        limit: seconds after which the whole measurement is given up, here and there.
    """

    address: str
    python: str = PYTHON
    limit: int = LIMIT_SECONDS


@dataclass(frozen=True)
class Answer:
    """What :mod:`movinet_benchmarks.timing` prints on a board; models go by numbers there."""

    timed: list[Timed]
    environment: Environment


def time_on_host(
    host: Host, models: Mapping[str, Path], images: Sequence[Frame], schedule: Schedule
) -> tuple[list[Timed], Environment]:
    """As :func:`movinet_benchmarks.timing.time_models`, on a board.

    Raises:
        HostError: with the last line that ssh or the board said, or after ``host.limit``.
    """
    arguments = [json.dumps(asdict(schedule)), str(host.limit)]
    # The python may begin with ~, so it is not quoted.
    script = (
        'd=$(mktemp -d) && trap \'rm -rf "$d"\' EXIT && cd "$d" && tar xf - && '
        f"{host.python} -m {PACKAGE}.timing . {shlex.join(arguments)}"
    )
    try:
        done = subprocess.run(
            [*_ssh(host.address), script],
            input=_archive(models, images),
            capture_output=True,
            timeout=host.limit,
        )
    except subprocess.TimeoutExpired:
        raise HostError(
            f"{host.address} did not answer within {host.limit} s: measure less, or raise "
            "--host-limit"
        ) from None
    said = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode:
        raise HostError(f"{host.address}: {(said or ['no reason given'])[-1]}")
    try:
        answer = msgspec.json.decode(done.stdout, type=Answer)
        names = list(models)
        timed = [replace(one, name=names[int(one.name)]) for one in answer.timed]
    except (msgspec.MsgspecError, ValueError, LookupError) as error:
        raise HostError(f"{host.address} answered something else: {error}") from error
    return timed, answer.environment


def _ssh(address: str) -> list[str]:
    if address.startswith("-"):
        raise UsageError(f"--host is an address such as pi@raspberrypi.local, not {address}")
    ssh = shutil.which("ssh")
    if ssh is None:
        raise HostError("--host needs OpenSSH's client: there is no program ssh")
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": CONNECT_SECONDS,
        "ServerAliveInterval": ALIVE_SECONDS,
        "ServerAliveCountMax": ALIVE_TIMES,
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return [ssh, *words, address]


def _archive(models: Mapping[str, Path], images: Sequence[Frame]) -> bytes:
    frames = io.BytesIO()
    np.save(frames, np.stack(list(images)))
    files = {"frames.npy": frames.getvalue(), f"{PACKAGE}/__init__.py": b""}
    # By number: names may hold anything, as where two models are called the same.
    files |= {f"{i}.tflite": path.read_bytes() for i, path in enumerate(models.values())}
    package = Path(movinet_benchmarks.__file__).parent
    for path in (path for pattern in MODULES for path in sorted(package.glob(pattern))):
        files[f"{PACKAGE}/{path.relative_to(package)}"] = path.read_bytes()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
