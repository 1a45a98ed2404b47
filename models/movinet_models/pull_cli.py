"""``movinet pull``: published weights into the cache. Runs inside the runtime's command line."""

import json
import shutil
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from movinet_models.fetch import Check, Fetched, adopt
from movinet_models.fetch import pull as pull_weights
from movinet_models.registry import KINETICS_600
from movinet_runtime.errors import UsageError
from movinet_runtime.files import written_whole

CHECKS = "movinet.checks"  # entry points: what reads weights


def pull(
    model: Annotated[
        str, typer.Argument(help="a0-stream ... a5-stream, a0-base ..., a0lite-stream")
    ],
    file: Annotated[
        Path | None,
        typer.Option("--from", help="A file that was downloaded by hand: checked, and taken."),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(help="kaggle, hub, garden or pytorch; repeat it. Default: all."),
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="kinetics-600, or kinetics-400 (base models).")
    ] = KINETICS_600,
    to: Annotated[
        Path | None, typer.Option(help="A folder that gets a copy; default: only the cache.")
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", help="Download what is there already; take it if it changed."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
) -> None:
    """Download published weights, or check a file of them that was brought by hand.

    The sources are tried in the order of 'movinet models --sources'. A download that broke
    off goes on from there. What is in the cache already is taken without any network.

    movinet pull a0-stream

    movinet pull a0-stream --from ~/Downloads/archive.tar.gz

    movinet pull a2-base --dataset kinetics-400 --source garden --to weights/
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    shows = console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=not shows) as bar:
        task = bar.add_task("starting", total=None)
        said = ""

        def report(what: str, done: int, total: int | None) -> None:
            nonlocal said
            if what != said:
                bar.reset(task, description=what, total=total)
                if not shows or ": " in what:
                    console.print(what, style="dim", markup=False, soft_wrap=True)
                said = what
            bar.update(task, completed=done, total=total)

        if file is not None:
            if again:
                raise UsageError("--again is for downloads, --from for files")
            check = _check()
            if check is None:
                report("its tensors are not checked: that takes movinet-convert", 0, None)
            fetched = adopt(file, model, dataset, source or (), report, check)
        else:
            fetched = pull_weights(model, dataset, source or (), report, again=again)
    path = fetched.path if to is None else _copied(fetched.path, to)
    if as_json:
        print(json.dumps(_as_json(fetched, path), indent=2))
        return
    print(path)
    console.print(f"sha256   {fetched.sha256}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"from     {fetched.url}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"licence  {fetched.licence}", highlight=False, markup=False)
    console.print(
        f"next:    {_next(model, dataset, path)}", highlight=False, markup=False, soft_wrap=True
    )


def _check() -> Check | None:
    """Return what reads weights, if a package that can is installed."""
    found = next(iter(entry_points(group=CHECKS)), None)
    return None if found is None else cast(Check, found.load())


def _copied(path: Path, folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}") from error
    target = folder / path.name
    try:
        with written_whole(target) as temporary:
            shutil.copyfile(path, temporary)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from error
    return target


def _next(model: str, dataset: str, path: Path) -> str:
    weights = "" if dataset == KINETICS_600 else f" -w {path}"
    return f"movinet export {model}{weights} -o {model.partition('-')[0]}.tflite"


def _as_json(fetched: Fetched, path: Path) -> dict[str, object]:
    return {
        "path": str(path),
        "sha256": fetched.sha256,
        "size": path.stat().st_size,
        "url": fetched.url,
        "licence": fetched.licence,
        "source": None if fetched.source is None else asdict(fetched.source),
    }
