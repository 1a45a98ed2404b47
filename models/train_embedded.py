"""Make the embedded model anew: draw, train, pack, export, judge, write the card's figures.

``make embedded`` takes 78 minutes on two idle cores, 5 of them for judging. Every step that is
done is skipped, a training that was stopped goes on, so the same command again finishes the work.
Everything on the way lies in ``out/embedded``.
"""

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from movinet_benchmarks.accuracy import interval
from movinet_convert.sources import load_weights
from movinet_convert.sources.keras import save_npz
from movinet_models import embedded
from movinet_models.family import lookup
from movinet_models.figures import NOTHING, clips
from movinet_models.figures.actions import REVERSED_PAIRS
from movinet_models.registry import LICENCE
from movinet_runtime.files import written_whole

MOVINET = Path(sys.executable).with_name("movinet")
WORK = Path("out/embedded")
DATA, REPORT, ALARMS = WORK / "figures", WORK / "accuracy.json", WORK / "alarms.json"
SHORT, KERAS = WORK / "a0-short.keras", WORK / "a0.keras"
CARD = embedded.FOLDER / "README.md"
CLIPS = {"train": 12000, "validation": 360, "test": 2400}
COMMON = shlex.split("--resolution 96 --speed 1 --colour 0.1 --crop 0.8")
# From nothing, on pictures that grow and clips of two seconds ...
FIRST = shlex.split(
    "--weights none --start-resolution 64 --frames 10 --batch 16 "
    "--learning-rate 2e-3 --final-learning-rate 0.3 --epochs 8 --lead-in 0 --best top1"
)
# ... then on streams: the buffers of all temporal convolutions together reach 30 frames back, and
# what lies there is another clip, or the same. On the first 4,800 clips and all of ``nothing``,
# which cameras see most of the time; the rate goes on where the first part left it.
FEW, FEW_CLIPS = WORK / "few.csv", 4800
SECOND = shlex.split(
    f"--weights {SHORT} --freeze 0 --frames 16 --lead-in 16 --horizon 10 --batch 8 "
    "--learning-rate 7e-4 --epochs 3 --keep-statistics "
    f"--prior {NOTHING}=20"
)
VARIANTS = ("float32", "float16", "half", "dynamic", "dynamic-si8")
BEGIN, END = "<!-- figures: made by make embedded -->", "<!-- end of figures -->"


def main() -> None:
    """Do what is not done yet, and all that follows from it."""
    WORK.mkdir(parents=True, exist_ok=True)
    movinet("figures", DATA, *(f"--{split}={count}" for split, count in CLIPS.items()))
    with written_whole(FEW) as temporary:
        temporary.write_text(few(), "utf-8")
    for data, output, options in ((DATA, SHORT, FIRST), (FEW, KERAS, SECOND)):
        if not output.exists():
            stopped = output.with_suffix(".checkpoint.npz").exists()
            resume = ["--resume"] if stopped else []
            movinet("train", data, "-o", output, *COMMON, *options, *resume)
    trained = load_weights(str(KERAS), lookup("a0-stream"))
    save_npz(replace(trained, licence=LICENCE), embedded.WEIGHTS)
    export = ("export", "a0-stream", "--weights", "embedded")
    movinet(*export, "-q", "all", "-o", WORK)
    movinet(*export, "-q", "dynamic", "-o", embedded.MODEL)
    files = [WORK / f"a0-stream-{variant}.tflite" for variant in VARIANTS]
    found = [*judged(files, "clips", "stream"), *judged(files[:1], "shuffled", "single")]
    with written_whole(REPORT) as temporary:
        temporary.write_text(json.dumps(found, indent=1), "utf-8")
    watched = [sys.executable, "-m", "movinet_benchmarks.false_alarms", "--json"]
    with written_whole(ALARMS) as temporary:
        temporary.write_bytes(subprocess.run(watched, stdout=subprocess.PIPE, check=True).stdout)
    before, _, rest = CARD.read_text("utf-8").partition(BEGIN)
    with written_whole(CARD) as temporary:
        temporary.write_text(before + BEGIN + figures() + END + rest.partition(END)[2], "utf-8")


def few() -> str:
    """Return a table of the first training clips and every ``nothing``, and of those to choose by.

    Streams are mostly that, and it looks more different from one to the next than an action does.
    """
    rows = ["path,label,split"]
    for split in ("train", "validation"):
        for clip in clips(split, CLIPS[split]):
            if split == "validation" or clip.index < FEW_CLIPS or clip.label == NOTHING:
                path = Path(DATA.name, split, clip.label, f"{clip.index:05}.mp4")
                rows.append(f"{path},{clip.label},{split}")
    return "\n".join([*rows, ""])


def judged(files: Sequence[Path], *modes: str) -> list[dict[str, Any]]:
    """Return what files answer to the test clips, shown in each of the modes."""
    words = [word for mode in modes for word in ("--mode", mode)]
    where = ("--data", DATA, "--on", "local")
    found = movinet("accuracy", *files, *where, *words, "--json", read=True)
    return list(json.loads(found))


def figures() -> str:
    """Return the accuracies as a table, all classes and the reversed pairs alone, and events."""
    pairs = {*REVERSED_PAIRS, *REVERSED_PAIRS.values()}
    lines = ["", "", "| variant | shown as | clips | top-1 | 95 % | time-reversed pairs |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in json.loads(REPORT.read_text("utf-8")):
        confusion = np.array(row["confusion"])
        chosen = [i for i, label in enumerate(row["labels"]) if label in pairs]
        right, clips = int(np.trace(confusion)), int(confusion.sum())
        low, high = interval(right, clips)
        reversed_ = np.diag(confusion)[chosen].sum() / confusion[chosen].sum()
        variant = Path(row["model"]).stem.removeprefix("a0-stream-")
        lines.append(
            f"| {variant} | {row['mode']} | {clips} | {right / clips:.2%} "
            f"| {low:.1%}–{high:.1%} | {reversed_:.2%} |"
        )
    lines += [
        "",
        "| stream, with the runtime's defaults | hours | actions | found | other events |",
    ]
    lines += ["|---|---|---|---|---|"]
    for one in json.loads(ALARMS.read_text("utf-8")):
        found = f"{one['found'] / one['actions']:.1%}" if one["actions"] else ""
        alarms = f"{one['alarms']} ({one['alarms_an_hour']:.1f} an hour)"
        lines.append(
            f"| {one['what']} | {one['hours']:.2f} | {one['actions'] or ''} | {found} | {alarms} |"
        )
    return "\n".join([*lines, "", ""])


def movinet(*arguments: str | Path, read: bool = False) -> bytes:
    """Run a command line and show it first; return what it printed if asked to."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ movinet {shlex.join(words)}", flush=True)
    done = subprocess.run([MOVINET, *words], stdout=subprocess.PIPE if read else None)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout or b""


if __name__ == "__main__":
    main()
