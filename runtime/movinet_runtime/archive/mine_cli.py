"""``movinet mine``: segments out of labels, as a list or as clips."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from movinet_runtime.archive.mine import Counts, Doubt, Segment, Wanted, mine, read_rows
from movinet_runtime.cli.options import only_with
from movinet_runtime.errors import MissingPackageError, MovinetError, OutputError, UsageError
from movinet_runtime.files import writing, written_whole
from movinet_runtime.outputs.cut import Cut, clip_name, cut
from movinet_runtime.sources.remote import is_address

INCOMPLETE = 1
SHOWN = 20  # segments in the terminal
DOUBTFUL, AROUND = 50, 1.0  # segments, and seconds before and after each
SPLITS = ("train", "validation", "test")  # folders of these names are no classes
LISTS = (".csv", ".txt", ".jsonl")


class Uncertain(str, Enum):
    """How doubt is measured."""

    margin = "margin"
    entropy = "entropy"


@dataclass(frozen=True)
class Found:
    """A segment, and the clip that was cut of it."""

    segment: Segment
    source: Path
    clip: Cut | None = None


def mine_command(
    context: typer.Context,
    labels: Annotated[Path, typer.Argument(help="Of movinet label: Parquet or JSON lines.")],
    label: Annotated[
        list[str] | None, typer.Option(help="Only this label; repeat it. Default: all.")
    ] = None,
    least: Annotated[
        float, typer.Option("--min", min=0, max=1, help="Of the best label's probability.")
    ] = 0.0,
    most: Annotated[
        float, typer.Option("--max", min=0, max=1, help="Of the best label's probability.")
    ] = 1.0,
    uncertain: Annotated[
        Uncertain | None,
        typer.Option(help="Seek doubt instead: best two close together, or high entropy."),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help=f"Segments in all. Default: all, {DOUBTFUL} with --uncertain."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Segments for each label.")] = None,
    gap: Annotated[
        float, typer.Option(min=0, help="Seconds without the label that a segment may bridge.")
    ] = 0.0,
    pad: Annotated[
        float | None,
        typer.Option(min=0, help=f"Seconds around it. Default: 0, {AROUND:g} with --uncertain."),
    ] = None,
    shortest: Annotated[float, typer.Option(min=0.001, help="Seconds.")] = 0.001,
    longest: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds; longer ones are divided.")
    ] = None,
    videos: Annotated[
        Path | None, typer.Option(help="Where relative paths start; default: here.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A list: .csv, .jsonl, or .txt of 'path label'."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--cut", help="Cut clips into it: LABEL/CLIP.mp4.")
    ] = None,
    exact: Annotated[
        bool, typer.Option(help="Encode clips: else they begin at the key frame before.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The segments as JSON.")] = False,
) -> None:
    """Find segments by label and probability, or the most doubtful ones; list or cut them.

    movinet mine labels.parquet --label clapping --min 0.9 --limit 100 --cut clips/

    movinet mine labels.parquet --uncertain margin --top 200 --cut look/ --exact

    movinet mine labels.jsonl --min 0.5 --max 0.7 --shortest 2 -o doubtful.csv
    """
    only_with(context, folder is not None, "clips, with --cut", "exact")
    only_with(context, uncertain is None, "segments of a label, not --uncertain", "gap", "longest")
    if not isfinite(gap):
        raise UsageError(f"--gap is a number of seconds, not {gap:g}")
    if output is not None and output.exists() and labels.exists() and output.samefile(labels):
        raise UsageError(f"{output} would be overwritten, and is what is to be read")
    if output is not None and not output.parent.is_dir():
        raise UsageError(f"the folder {output.parent} does not exist")
    doubt: Doubt | None = None if uncertain is None else uncertain.value
    if least > most:
        raise UsageError(f"--min {least:g} is more than --max {most:g}")
    if output is not None and output.suffix.lower() not in LISTS:
        raise UsageError(f"cannot tell the format of {output}: it ends in {', '.join(LISTS)}")
    wanted = Wanted(
        frozenset(label or ()),
        least,
        most,
        doubt,
        gap,
        (AROUND if doubt else 0.0) if pad is None else pad,
        shortest,
        longest or float("inf"),
        limit,
        DOUBTFUL if top is None and doubt else top,
    )
    counts = Counts()
    segments = mine(read_rows(labels, counts), wanted, counts)
    _check_labels(wanted, counts, labels)
    found = [Found(one, (videos or Path()) / one.path) for one in segments]
    console = Console(stderr=True)
    failures: list[str] = []
    if folder is not None:
        found, failures = _cut_all(found, folder, exact, console)
    if output is not None:
        with written_whole(output) as temporary:
            temporary.write_text(as_list(found, output.suffix.lower()), "utf-8")
    if as_json:
        rows = {
            "rows": counts.rows,
            "files": counts.files,
            "errors": counts.errors,
            "segments": [as_row(one) for one in found],
            "failures": failures,
        }
        print(json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False))
    else:
        _print(found, counts)
    for line in failures:
        console.print(line, style="red", highlight=False, markup=False, soft_wrap=True)
    if failures:
        raise typer.Exit(INCOMPLETE)


def _check_labels(wanted: Wanted, counts: Counts, labels: Path) -> None:
    unknown = sorted(wanted.labels - (counts.labels or set()))
    if unknown:
        some = sorted(counts.labels or ())[:6]
        raise UsageError(f"no row of {labels} is labelled '{unknown[0]}'; it has {', '.join(some)}")


def folder_of(label: str) -> str:
    """Name the folder of a class: a label without what no folder may be called.

    Raises:
        UsageError: it would be taken for a split.
    """
    name = label.replace("/", "_").replace("\0", "_")
    name = f"_{name[1:]}" if name.startswith(".") else name
    if name in SPLITS:
        raise UsageError(f"'{label}' cannot be a class's folder: training takes it for a split")
    return name


def _cut_all(
    found: Sequence[Found], folder: Path, exact: bool, console: Console
) -> tuple[list[Found], list[str]]:
    """Cut every segment; what cannot be cut is left out and named."""
    names = {one.segment.label: folder_of(one.segment.label) for one in found}
    for label, name in names.items():
        twins = [other for other, its in names.items() if its == name and other != label]
        if twins:
            raise UsageError(f"'{label}' and '{twins[0]}' would share the folder {name}")
    done: list[Found] = []
    failures: list[str] = []
    columns = (TextColumn("cutting"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=console, disable=not console.is_terminal, transient=True
    ) as progress:
        for one in progress.track(found):
            segment = one.segment
            place = folder / names[segment.label]
            if is_address(segment.path):
                failures.append(
                    f"{segment.path} is not on this machine: clips are cut of files here"
                )
                continue
            try:
                name = clip_name(one.source, segment.start, segment.end)
                with writing(place):
                    place.mkdir(parents=True, exist_ok=True)
                clip = cut(one.source, segment.start, segment.end, place / name, exact)
            except (MissingPackageError, OutputError):
                raise  # of the machine: the next clip would fare no better
            except (MovinetError, ValueError) as error:  # a name with a NUL in it
                failures.append(str(error))
            else:
                done.append(Found(segment, one.source, clip))
    for name in names.values():  # a class without a clip is none
        place = folder / name
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
    return done, failures


def as_row(one: Found) -> dict[str, Any]:
    """Return a segment as JSON: what was asked for, and what its clip holds."""
    row: dict[str, Any] = asdict(one.segment)
    if one.clip is not None:
        clip = {"clip": str(one.clip.path), "clip_start": one.clip.start, "clip_end": one.clip.end}
        row |= clip
    return row


def as_list(found: Sequence[Found], ending: str) -> str:
    """Write a list of segments, or of the clips where they were cut.

    Args:
        found: segments.
        ending: ``.csv`` (with seconds, probability and the recording as ``group``),
            ``.jsonl``, or ``.txt``: lines ``path label``.

    Raises:
        OutputError: no line can hold a path.
    """
    if ending == ".jsonl":
        return "".join(
            json.dumps(as_row(one), ensure_ascii=False, allow_nan=False) + "\n" for one in found
        )
    if ending == ".txt":
        return "".join(dict.fromkeys(_line(one) for one in found))
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    # A clip's seconds are another file's: columns start and end would cut it once more.
    times = ("source_start", "source_end") if any(one.clip for one in found) else ("start", "end")
    rows.writerow(["path", "label", *times, "probability", "doubt", "group"])
    for one in found:
        seg = one.segment
        doubt = "" if seg.doubt is None else f"{seg.doubt:.6f}"
        seconds = (f"{seg.start:.3f}", f"{seg.end:.3f}")
        probability = f"{seg.probability:.6f}"
        rows.writerow([_path(one), seg.label, *seconds, probability, doubt, _source(one)])
    return text.getvalue()


def _path(one: Found) -> str:
    return _source(one) if one.clip is None else str(one.clip.path.absolute())


def _source(one: Found) -> str:
    path = one.segment.path
    return path if is_address(path) else str(one.source.absolute())


def _line(one: Found) -> str:
    path, label = _path(one), one.segment.label
    if "\n" in path + label:
        raise OutputError(f"no line of a list can hold {path!r} and {label!r}: write .csv")
    quoted: Callable[[str], str] = lambda text: '"' + text.replace('"', '""') + '"'  # noqa: E731
    return f"{quoted(path)} {quoted(label)}\n"


def _print(found: Sequence[Found], counts: Counts) -> None:
    console = Console()
    table = Table(box=None, pad_edge=False)
    table.add_column("file", overflow="fold")
    for column in ("from s", "to s"):
        table.add_column(column, justify="right")
    table.add_column("label", overflow="fold")
    for column in ("probability", "doubt"):
        table.add_column(column, justify="right")
    for one in found[:SHOWN]:
        seg = one.segment
        doubt = "" if seg.doubt is None else f"{seg.doubt:.3f}"
        cells = (f"{seg.start:.2f}", f"{seg.end:.2f}", escape(seg.label))
        table.add_row(escape(seg.path), *cells, f"{seg.probability:.3f}", doubt)
    if found:
        console.print(table)
    if len(found) > SHOWN:
        console.print(f"... and {len(found) - SHOWN} more: -o list.csv", style="dim")
    totals = Counter[str]()
    for one in found:
        totals[one.segment.label] += 1
    for label, count in sorted(totals.items()):
        own = [one for one in found if one.segment.label == label]
        seconds = sum(one.segment.end - one.segment.start for one in own)
        early = [one.segment.start - one.clip.start for one in own if one.clip is not None]
        more = f", clips begin {sum(early) / len(early):.1f} s early" if early else ""
        line = f"{label}: {count} segments, {seconds:.1f} s{more}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    read = f"{counts.rows} rows of {counts.files} files, {counts.errors} of them with errors"
    console.print(f"{len(found)} segments of {read}", style="dim", highlight=False, soft_wrap=True)
