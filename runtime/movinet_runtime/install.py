"""Install lines that work although the packages are on no registry.

pip writes down where it took a package from (PEP 610), and the toolkit's packages lie side by
side there: as wheels in one folder, as rooms of one repository.
"""

import json
import platform
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

SELF = "movinet-runtime"
PACKAGES = Path(__file__).with_name("packages.json")  # each may need those before it
TFLITE_RUNTIME = "'tflite-runtime==2.14.0' 'numpy<2'"


def install_hint(package: str) -> str:
    """Return the command that installs a package of the toolkit here.

    Args:
        package: with extras or without: ``movinet-runtime[video]``.
    """
    name, _, extras = package.partition("[")
    if _installed(name) is not None:  # pip needs no place for it, only its extras' libraries
        return f"{_pip()} install {shlex.quote(package)}"
    known: list[str] = json.loads(PACKAGES.read_text("utf-8"))
    before = known[: known.index(name)] if name in known else []
    missing = [one for one in before if _installed(one) is None] + [name]
    places = {one: _place(one) for one in missing}
    if None in places.values():
        wheels = " ".join(f"dist/{one.replace('-', '_')}-*.whl" for one in missing)
        return f"{_pip()} install {wheels}, of 'make wheels' in the repository"
    if extras:
        places[name] = f"{package} @ {places[name]}"
    return f"{_pip()} install {shlex.join(map(str, places.values()))}"


def interpreter_hint(library: str | None, machine: str = "", bits: int = 0) -> str:
    """Say how this machine gets an interpreter, or that it cannot.

    Args:
        library: the module that is missing; None: any.
        machine, bits: of the running Python; default: found.
    """
    machine, bits = machine or platform.machine(), bits or sys.maxsize.bit_length() + 1
    if bits == 64:
        wanted = TFLITE_RUNTIME if library == "tflite_runtime" else "ai-edge-litert"
        return f"{_pip()} install {wanted}"
    if machine == "armv6l":
        return "none is built for armv6l; it takes a 64-bit system, on a Pi Zero 2 or 3 and later"
    return (
        f"this Python has 32 bits and takes tflite-runtime, made for Python 3.9 to 3.11: "
        f"{_pip()} install {TFLITE_RUNTIME}"
    )


def _pip() -> str:
    """Name the pip of this environment, by its Python where the shell finds another one."""
    found = shutil.which("pip")
    if found is not None and Path(found).parent == Path(sys.executable).parent:
        return "pip"
    return f"{shlex.quote(sys.executable)} -m pip"


def _installed(name: str) -> str | None:
    found = _distribution(name)
    return None if found is None else str(found.version)


def _distribution(name: str) -> Any:
    from importlib.metadata import PackageNotFoundError, distribution  # 9 ms, and only for errors

    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _place(name: str) -> str | None:
    """Return the URL of a package beside the one that this module came in, if it is known."""
    found = _distribution(SELF)
    text = None if found is None else found.read_text("direct_url.json")
    if text is None:
        return None
    origin: dict[str, Any] = json.loads(text)
    url, room = origin["url"], name.removeprefix("movinet-")
    if "vcs_info" in origin:
        vcs = origin["vcs_info"]
        return f"{vcs['vcs']}+{url}@{vcs['commit_id']}#subdirectory={room}"
    folder = url.rstrip("/").rpartition("/")[0]
    if "archive_info" in origin:
        place = f"{folder}/{name.replace('-', '_')}-{found.version}-py3-none-any.whl"
    else:
        place = f"{folder}/{room}"
    parts = urlsplit(place)
    if parts.scheme == "file" and not Path(unquote(parts.path)).exists():
        return None
    return place
