"""Time models on boards over SSH: one command there, and the figures come home as JSON.

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
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

import movinet_benchmarks
from movinet_benchmarks.environment import Environment
from movinet_benchmarks.process.race import Frame, Progress
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
    (answer,) = time_on_hosts([host], models, images, schedule).values()
    if isinstance(answer, HostError):
        raise answer
    return answer.timed, answer.environment


def time_on_hosts(
    hosts: Sequence[Host],
    models: Mapping[str, Path],
    images: Sequence[Frame],
    schedule: Schedule,
    progress: Progress = lambda n: None,
) -> dict[str, Answer | HostError]:
    """Time models on several boards at once.

    Args:
        hosts: no board twice.
        models, images, schedule: see :func:`movinet_benchmarks.timing.time_models`.
        progress: called with 1 after each board.

    Returns:
        By address, in the order of the hosts: what a board measured, or why it did not.

    Raises:
        HostError: there is no ssh here.
        UsageError: an address is none, or two are the same board.
    """
    ssh = {host.address: _ssh(host.address) for host in hosts}
    _refuse_twins(hosts, ssh)
    content = _archive(models, images)
    # Processes are ended before the threads are waited for: an interrupt waits for no board.
    with ThreadPoolExecutor(max(1, len(hosts))) as pool, ExitStack() as running:
        waiting = {}
        for host in hosts:
            process = running.enter_context(_killed(_start(host, ssh[host.address], schedule)))
            waiting[host.address] = pool.submit(_answer, host, process, content, list(models))
        for _ in as_completed(waiting.values()):
            progress(1)
        return {address: answer.result() for address, answer in waiting.items()}


def _refuse_twins(hosts: Sequence[Host], ssh: Mapping[str, list[str]]) -> None:
    """A board that measures twice at once disturbs itself."""
    if len(hosts) < 2:
        return
    known: dict[str, str] = {}
    for host in hosts:
        machine = _machine(host.address, ssh[host.address])
        if machine in known:
            both = f"{known[machine]} and {host.address}"
            same = host.address if known[machine] == host.address else both
            raise UsageError(f"--host names one board twice: {same}")
        known[machine] = host.address


def _machine(address: str, ssh: Sequence[str]) -> str:
    """Name the machine that ssh would go to, whoever logs in there and under what alias."""
    done = subprocess.run([ssh[0], "-G", *ssh[1:]], capture_output=True, text=True)
    found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    if done.returncode or "hostname" not in found:
        return address
    # Behind two gateways there may be two machines of one name.
    keys = ("hostname", "port", "proxyjump", "proxycommand")
    return " ".join(found.get(key, "") for key in keys)


def _start(host: Host, ssh: Sequence[str], schedule: Schedule) -> "subprocess.Popen[bytes]":
    arguments = [json.dumps(asdict(schedule)), str(host.limit)]
    # The python may begin with ~, so it is not quoted.
    script = (
        'd=$(mktemp -d) && trap \'rm -rf "$d"\' EXIT && cd "$d" && tar xf - && '
        f"{host.python} -m {PACKAGE}.timing . {shlex.join(arguments)}"
    )
    pipe = subprocess.PIPE
    return subprocess.Popen([*ssh, script], stdin=pipe, stdout=pipe, stderr=pipe)


@contextmanager
def _killed(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    """Leave no process behind."""
    try:
        yield process
    finally:
        process.kill()


def _answer(
    host: Host, process: "subprocess.Popen[bytes]", content: bytes, names: Sequence[str]
) -> Answer | HostError:
    """Give a board its work and wait for its figures, or for the reason why there are none."""
    try:
        out, err = process.communicate(content, timeout=host.limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return HostError(
            f"{host.address} did not answer within {host.limit} s: measure less, or raise "
            "--host-limit"
        )
    said = err.decode(errors="replace").strip().splitlines()
    if process.returncode:
        return HostError(f"{host.address}: {(said or ['no reason given'])[-1]}")
    try:
        answer = msgspec.json.decode(out, type=Answer)
        timed = [replace(one, name=names[int(one.name)]) for one in answer.timed]
    except (msgspec.MsgspecError, ValueError, LookupError) as error:
        return HostError(f"{host.address} answered something else: {error}")
    return replace(answer, timed=timed)


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
