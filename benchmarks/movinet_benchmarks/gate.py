"""Whether a new measurement is worse than an old one, on machines that are never quiet."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from movinet_benchmarks.report import Report, Variant, arm, key, sqnr
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


def compare(
    base: Report, new: Report, slower: float, paired: bool = False, times: bool = True
) -> list[Check]:
    """Check every variant that both reports have.

    A time is worse only if the whole 95 % interval of the ratio of medians lies beyond
    the allowed share. Everything else is deterministic, and compared as it is.

    Args:
        base, new: reports.
        slower: allowed share, 0.05 for 5 %.
        paired: both were measured by turns in one run.
        times: compare them at all; those of two machines say nothing.

    Raises:
        UsageError: they have no variant in common.
    """
    before = {key(variant): variant for variant in base["variants"]}
    after = {key(variant): variant for variant in new["variants"]}
    if not before.keys() & after.keys():
        raise UsageError("the reports have no variant in common: " + "; ".join([*before, *after]))
    checks = []
    for name in before:
        if name not in after:
            checks.append(Check(name, "variant", "there", "missing", "worse"))
            continue
        checks += _deterministic(name, before[name], after[name])
        if times:
            checks.append(_time(name, before[name], after[name], slower, paired))
    return checks


def _time(name: str, base: Variant, new: Variant, slower: float, paired: bool) -> Check:
    before, after = (np.array(variant["samples_ms"]) for variant in (base, new))
    found = ratio(before, after, paired)
    verdict: Verdict = "same"
    if found.slower_than(slower):
        verdict = "worse"
    elif found.faster_than(slower):
        verdict = "better"
    return Check(
        name,
        "step ms, median",
        f"{base['step_ms']['median']:.3f}",
        f"{new['step_ms']['median']:.3f}",
        verdict,
        f"x {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]",
    )


def _deterministic(name: str, base: Variant, new: Variant) -> list[Check]:
    def outside(variant: Variant) -> int:
        return int(sum(variant["ops_outside"].values()))

    rows: list[tuple[str, Callable[[Variant], Any], float]] = [
        ("delegate partitions", lambda v: v["partitions"], 0),
        ("ops", lambda v: v["ops"], 0),
        ("ops outside", outside, 0),
        ("state bytes", lambda v: v["state_bytes"], 0),
        ("file bytes", lambda v: v["file_bytes"], BYTES_SLACK),
    ]
    checks = []
    for what, value, slack in rows:
        a, b = value(base), value(new)
        verdict: Verdict = "same"
        if b > a * (1 + slack):
            verdict = "worse"
        elif b < a * (1 - slack):
            verdict = "better"
        checks.append(Check(name, what, str(a), str(b), verdict))
    for core, one in arm(base).items():
        a, b = one["instructions"], arm(new).get(core, {}).get("instructions")
        verdict = "same"
        if b is None or b > a * (1 + INSTRUCTIONS_SLACK):
            verdict = "worse"
        elif b < a * (1 - INSTRUCTIONS_SLACK):
            verdict = "better"
        counted = "not counted" if b is None else f"{b / 1e6:.2f}"
        checks.append(Check(name, f"M instructions, {core}", f"{a / 1e6:.2f}", counted, verdict))
    before, after = sqnr(base), sqnr(new)
    if before is not None:
        verdict = "worse" if after is None or after < before - SQNR_SLACK_DB else "same"
        now = "not measured" if after is None else f"{after:.1f}"
        checks.append(Check(name, "SQNR dB, worst stream", f"{before:.1f}", now, verdict))
    return checks
