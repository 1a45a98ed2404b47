"""Options of commands that may work elsewhere: ``--on`` and ``--path-map``."""

from collections.abc import Sequence
from typing import Annotated

import typer

from movinet_runtime.archive.pieces import path_map
from movinet_runtime.errors import UsageError
from movinet_runtime.workers import local_processes

WORK = "Where and how"
Where = Annotated[
    str | None,
    typer.Option(
        "--on",
        help="local: a process for each core; a number of processes; dask://HOST:PORT or a "
        "scheduler file. Default: in this process.",
        rich_help_panel=WORK,
    ),
]
PathMaps = Annotated[
    list[str] | None,
    typer.Option(
        "--path-map",
        help="HERE=THERE: how Dask's workers see a folder; repeat it.",
        rich_help_panel=WORK,
    ),
]


def checked_place(where: str | None, maps: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Check both before any work, and return pairs of folders here and there.

    Raises:
        UsageError: no such place; maps for workers of this machine.
    """
    remote = where is not None and local_processes(where) is None
    if maps and not remote:
        raise UsageError("--path-map is for workers of a cluster, --on dask://...")
    return path_map(list(maps or []))
