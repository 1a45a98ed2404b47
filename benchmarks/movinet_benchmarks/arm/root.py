"""A file system of an ARM board in a folder: packages of the distribution and wheels."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from zipfile import ZipFile

from movinet_benchmarks.arm.cores import FOUR_CORES, Core, Machine
from movinet_runtime.errors import MissingPackageError, UsageError

Say = Callable[[str], None]

# A program, and the package of Debian and its children that brings it.
TOOLS = {"apt-get": "apt", "dpkg-deb": "dpkg", "cc": "gcc"}
LAYOUT = 1  # raise it when what is assembled changes


@dataclass(frozen=True)
class Root:
    """An assembled root.

    Attributes:
        folder: the root itself.
        site: the unpacked wheels.
    """

    folder: Path
    site: Path
    machine: Machine

    @property
    def python(self) -> Path:
        """The interpreter, inside ``folder``."""
        return _python(self.folder)

    def python_path(self, *more: Path) -> str:
        """Return PYTHONPATH for programs inside, with more folders."""
        packaged = self.folder / "usr/lib/python3/dist-packages"
        return os.pathsep.join(map(str, (self.site, *more, packaged)))

    def library_path(self) -> str:
        """Return LD_LIBRARY_PATH for programs inside."""
        return ":".join(str(self.folder / library) for library in self.machine.libraries)

    @contextmanager
    def as_board(self, core: Core) -> Iterator[Path]:
        """Yield a root that says it is the board: links to this one, and its own /proc, /sys.

        XNNPACK and the runtime choose by /proc/cpuinfo; the emulator would show the host's.
        """
        with tempfile.TemporaryDirectory(prefix="movinet-board-") as name:
            board = Path(name)
            for entry in self.folder.iterdir():
                if entry.name not in ("proc", "sys"):
                    (board / entry.name).symlink_to(entry)
            (board / "proc").mkdir()
            (board / "proc/cpuinfo").write_text(core.proc_cpuinfo())
            cpus = board / "sys/devices/system/cpu"
            cpus.mkdir(parents=True)
            for kind in ("possible", "present", "online"):
                (cpus / kind).write_text(f"0-{FOUR_CORES - 1}\n")
            yield board


def missing_tools(machine: Machine) -> list[str]:
    """Name the programs that an emulation needs and this machine lacks, with their packages."""
    needed = {machine.emulator: "qemu-user"} | TOOLS
    return [
        f"{tool} (package {package})" for tool, package in needed.items() if not shutil.which(tool)
    ]


def assemble(machine: Machine, say: Say = lambda line: None) -> Root:
    """Return the root of a machine, assembled at the first time and then kept.

    It lies in the user's cache folder, about 250 MB.

    Raises:
        MissingPackageError: a program is not installed.
        UsageError: a package cannot be had; the reason is the last line of its tool.
    """
    if missing := missing_tools(machine):
        raise MissingPackageError(f"the emulation needs {', '.join(missing)}")
    wheels = [_pinned(name) for name in machine.wheels]
    kept = _cache() / "-".join([machine.name, str(LAYOUT), *wheels]).replace("==", "-")
    if not kept.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".assembling-", dir=kept.parent) as name:
            draft = Path(name)
            say(f"unpacking the distribution's {machine.debian} packages")
            _install_packages(machine, draft)
            say(f"unpacking {machine.name} wheels")
            _install_wheels(machine, wheels, draft)
            try:
                draft.rename(kept)
            except OSError:  # another process was faster
                if not kept.is_dir():
                    raise
            else:
                draft.mkdir()  # for the clean-up
    return Root(kept / "root", kept / "site", machine)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "movinet-edge"


def _pinned(name: str) -> str:
    if "==" in name:
        return name
    try:
        return f"{name}=={version(name)}"
    except PackageNotFoundError:
        return name


def _install_packages(machine: Machine, draft: Path) -> None:
    """Let apt resolve and fetch into a state of its own; this system's stays untouched."""
    root, state = draft / "root", draft / "apt"
    for folder in ("lists/partial", "archives/partial"):
        (state / folder).mkdir(parents=True)
    (state / "status").touch()  # nothing is installed, so everything is fetched
    apt = [
        "apt-get",
        "-qq",
        *("-o", f"APT::Architecture={machine.debian}"),
        *("-o", f"APT::Architectures={machine.debian}"),
        *("-o", f"Dir::State::lists={state}/lists"),
        *("-o", f"Dir::State::status={state}/status"),
        *("-o", f"Dir::Cache={state}"),
        *("-o", f"Dir::Cache::archives={state}/archives"),
        *("-o", "Debug::NoLocking=1"),
    ]
    if os.getuid() == 0:
        apt += ["-o", "APT::Sandbox::User=root"]
    subprocess.run([*apt, "update"], capture_output=True)  # a mirror may lack a part: see below
    get = ("install", "--yes", "--download-only", "--no-install-recommends")
    _run([*apt, *get, *machine.packages])
    for package in sorted((state / "archives").glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(package), str(root)])
    shutil.rmtree(state)


def _install_wheels(machine: Machine, wheels: Sequence[str], draft: Path) -> None:
    folder, site = draft / "wheels", draft / "site"
    python = _python(draft / "root").name.removeprefix("python")
    platforms = [word for tag in machine.platforms for word in ("--platform", tag)]
    get = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
    alone = ["--no-deps"] if machine.libraries else []  # the distribution has the rest
    target = ("--python-version", python, "--dest", str(folder))
    _run([*get, *alone, "--only-binary=:all:", *platforms, *target, *wheels])
    for wheel in folder.iterdir():
        with ZipFile(wheel) as archive:
            archive.extractall(site)
    shutil.rmtree(folder)


def _python(root: Path) -> Path:
    return next(
        path for path in sorted(root.glob("usr/bin/python3.*")) if path.suffix[1:].isdigit()
    )


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        raise UsageError(f"{command[0]} failed ({' '.join(command[-3:])}): {lines[-1]}")
