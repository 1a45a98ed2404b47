"""A benchmark's report: what is in it, and how it is read back (docs/benchmarks.md)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from movinet_benchmarks.arm.rehearse import Rehearsal
from movinet_benchmarks.fidelity import Fidelity
from movinet_benchmarks.statistics import Summary
from movinet_benchmarks.timing import Start
from movinet_runtime.errors import UsageError

SCHEMA, VERSION = "movinet-bench", 1
Report = dict[str, Any]
Variant = dict[str, Any]

# What every variant of a report has, and of what type.
FIELDS: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "engine": str,
    "threads": int,
    "step_ms": dict,
    "samples_ms": list,
    "start": dict,
    "file_bytes": int,
    "state_bytes": int,
    "ops": int,
    "partitions": int,
    "ops_outside": dict,
    "frames_per_second": (int, float),
    "real_time_factor": (int, float),
    "fidelity": (dict, type(None)),
}


@dataclass(frozen=True)
class Measurement:
    """One model on one engine with one number of threads."""

    name: str
    engine: str
    threads: int
    samples_ms: list[float]
    step_ms: Summary
    start: Start
    file_bytes: int
    state_bytes: int
    ops: int
    partitions: int
    ops_outside: dict[str, int]
    fps: float

    @property
    def frames_per_second(self) -> float:
        """How many frames it could take."""
        return 1000 / self.step_ms.median

    @property
    def real_time_factor(self) -> float:
        """How many times faster than the model's frame rate."""
        return self.frames_per_second / self.fps


def as_report(
    found: Sequence[Measurement],
    fidelity: Mapping[str, Fidelity],
    rehearsals: Mapping[str, Sequence[Rehearsal]],
    run: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> Report:
    """Put measurements into the form in which they are kept."""
    variants = []
    for one in found:
        row = asdict(one) | {
            "frames_per_second": round(one.frames_per_second, 2),
            "real_time_factor": round(one.real_time_factor, 3),
            "fidelity": None,
            "arm": {r.core: asdict(r) for r in rehearsals.get(one.name, ())},
        }
        if one.name in fidelity:
            parts = fidelity[one.name].parts
            row["fidelity"] = {name: asdict(measures) for name, measures in parts.items()}
        variants.append(row)
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "run": dict(run),
        "environment": dict(environment),
        "variants": variants,
    }


def read_report(path: Path) -> Report:
    """Read a report and check that it is one.

    Raises:
        UsageError: unreadable, another kind of file, a newer version, or a part is missing.
    """
    try:
        report = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the report {path}: {error}") from error
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise UsageError(f"{path} is no report of movinet bench --json")
    if report.get("version") != VERSION:
        raise UsageError(
            f"{path} is a report of version {report.get('version')}, this is {VERSION}"
        )
    variants = report.get("variants")
    if not isinstance(variants, list) or not variants:
        raise UsageError(f"{path}: a report needs variants")
    for variant in variants:
        for field, kind in FIELDS.items():
            if not isinstance(variant, dict) or not isinstance(variant.get(field), kind):
                raise UsageError(f"{path}: a variant lacks '{field}', or it is of another type")
    return dict(report)


def key(variant: Variant) -> str:
    """Name a variant with what it ran on."""
    if variant["engine"] == "auto" and variant["threads"] == 1:
        return str(variant["name"])
    threads = "1 thread" if variant["threads"] == 1 else f"{variant['threads']} threads"
    return f"{variant['name']} ({variant['engine']}, {threads})"


def cores(report: Report) -> list[str]:
    """Name the emulated cores that some variant of a report ran on, in their order."""
    return list(dict.fromkeys(core for variant in report["variants"] for core in arm(variant)))


def arm(variant: Variant) -> dict[str, Any]:
    """Return what a variant cost on emulated cores, by core; older reports have none."""
    return dict(variant.get("arm") or {})


def sqnr(variant: Variant) -> float | None:
    """The worse of its streams, dB; None where it was not measured."""
    both = variant["fidelity"]
    return None if both is None else float(min(both[s]["sqnr_db"] for s in ("short", "long")))
