"""Whether a new measurement is worse than an old one, on machines that are never quiet."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from movinet_benchmarks.report import Report, Variant
from movinet_benchmarks.statistics import ratio
from movinet_runtime.errors import UsageError

Verdict = Literal["same", "better", "worse"]
# What may change without a reason: labels and versions in the metadata; rounding on other CPUs.
BYTES_SLACK = 0.005
INSTRUCTIONS_SLACK = 0.005
SQNR_SLACK_DB = 1.0


@dataclass(frozen=True)
class Check:
    """One figure of one variant, before and after."""

    variant: str
    what: str
    base: str
    new: str
    verdict: Verdict
    why: str = ""


def checks(
    base: Report, new: Report, slower: float, paired: bool = False, times: bool = True
) -> list[Check]:
    """Check every variant that both reports have.

    A time is worse only if the whole 95 % interval of the ratio of medians lies beyond
    the allowed share. Everything else is deterministic, and compared as it is.

    Args:
        base, new: reports.
        slower: allowed share, 0.05 for 5 %.
        paired: both were measured by turns in the same processes.
        times: compare them at all; those of two machines say nothing.

    Raises:
        UsageError: they have no variant in common, or times that cannot be compared.
    """
    before = {variant.key: variant for variant in base.variants}
    after = {variant.key: variant for variant in new.variants}
    if not before.keys() & after.keys():
        raise UsageError("the reports have no variant in common: " + "; ".join([*before, *after]))
    if times and base.run.pace != new.run.pace:
        raise UsageError(
            f"one report is at {_pace(base)}, the other at {_pace(new)}: "
            "measure both alike, or compare with --no-times"
        )
    found = []
    for name in before:
        if name not in after:
            found.append(Check(name, "variant", "there", "missing", "worse"))
            continue
        found += _deterministic(name, before[name], after[name])
        if times:
            found.append(_time(name, before[name], after[name], slower, paired))
    return found


def grown(base: float, new: float, slack: float = 0) -> Verdict:
    """Judge a figure that may grow by a share at most; what is no number is worse."""
    if not new <= base * (1 + slack):
        return "worse"
    return "better" if new < base * (1 - slack) else "same"


def _pace(report: Report) -> str:
    return "full speed" if report.run.pace is None else f"{report.run.pace:g} frames a second"


def _time(name: str, base: Variant, new: Variant, slower: float, paired: bool) -> Check:
    found = ratio(base.samples_ms, new.samples_ms, paired)
    verdict: Verdict = "same"
    if found.slower_than(slower):
        verdict = "worse"
    elif found.faster_than(slower):
        verdict = "better"
    return Check(
        name,
        "step ms, median",
        f"{base.step_ms.median:.3f}",
        f"{new.step_ms.median:.3f}",
        verdict,
        f"x {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]",
    )


def _deterministic(name: str, base: Variant, new: Variant) -> list[Check]:
    rows: list[tuple[str, Callable[[Variant], int], float]] = [
        ("delegate partitions", lambda v: v.partitions, 0),
        ("ops", lambda v: v.ops, 0),
        ("ops outside", lambda v: sum(v.ops_outside.values()), 0),
        ("state bytes", lambda v: v.state_bytes, 0),
        ("file bytes", lambda v: v.file_bytes, BYTES_SLACK),
    ]
    found = []
    for what, value, slack in rows:
        a, b = value(base), value(new)
        found.append(Check(name, what, str(a), str(b), grown(a, b, slack)))
    for core, one in base.arm.items():
        other = new.arm.get(core)
        counted = "not counted"
        verdict: Verdict = "worse"
        if other is not None:
            counted = f"{other.instructions / 1e6:.2f}"
            verdict = grown(one.instructions, other.instructions, INSTRUCTIONS_SLACK)
        millions = f"{one.instructions / 1e6:.2f}"
        found.append(Check(name, f"M instructions, {core}", millions, counted, verdict))
    before, after = base.sqnr_db, new.sqnr_db
    if before is not None:
        now = "not measured" if after is None else f"{after:.1f}"
        held = after is not None and after >= before - SQNR_SLACK_DB
        true: Verdict = "same" if held else "worse"
        found.append(Check(name, "SQNR dB, worst stream", f"{before:.1f}", now, true))
    return found
