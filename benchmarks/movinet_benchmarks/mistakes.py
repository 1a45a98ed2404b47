"""What common mistakes before the network cost: ``python -m movinet_benchmarks.mistakes``.

Each clip is shown to a model rightly, and again with one mistake at a time. Without arguments
the embedded model sees drawn clips, 30 frames a second, in a wide picture: a file's frames, not
the model's. docs/preprocessing.md has the table.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from movinet_benchmarks.accuracy import interval
from movinet_benchmarks.command import run
from movinet_benchmarks.protocol import Picture, as_published, bilinear
from movinet_models import embedded
from movinet_models.clips import find_clips, open_clip
from movinet_models.figures import clips as drawn_clips
from movinet_models.figures import render
from movinet_models.lists import match_labels
from movinet_runtime import (
    Frame,
    FrameSource,
    Source,
    StreamClassifier,
    StreamModel,
    prepare,
    read_labels,
)

Input = NDArray[np.float32]
Size = tuple[int, int]
Shown = tuple[Source, str]  # a clip and its label

DRAWN, DRAWN_FPS, DRAWN_SIDE, DRAWN_SECONDS, WIDTH = 360, 30.0, 224, 3.2, 16 / 9
# What other networks want: of ImageNet's pictures.
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAMED_CLIPS = 6  # so many have a column each


def _right(image: Picture, size: Size) -> Input:
    return prepare(image, size)


def _bgr(image: Picture, size: Size) -> Input:
    return prepare(image, size)[..., ::-1]


def _signed(image: Picture, size: Size) -> Input:
    return prepare(image, size) * 2 - 1


def _bytes(image: Picture, size: Size) -> Input:
    return prepare(image, size) * 255


def _imagenet(image: Picture, size: Size) -> Input:
    mean, deviation = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_DEVIATION)  # type: ignore[arg-type]
    normalized: Input = (prepare(image, size) - mean) / deviation
    return normalized


def _nearest(image: Picture, size: Size) -> Input:
    cut = Image.fromarray(_centre(image, size))
    return _in_range(np.asarray(cut.resize(size[::-1], Image.Resampling.NEAREST)))


def _aliased(image: Picture, size: Size) -> Input:
    return _in_range(bilinear(_centre(image, size), size))


def _published(image: Picture, size: Size) -> Input:
    return _in_range(as_published(image, size))


def _stretched(image: Picture, size: Size) -> Input:
    return prepare(image, size, "stretch")


def _padded(image: Picture, size: Size) -> Input:
    return prepare(image, size, "pad")


def _mirrored(image: Picture, size: Size) -> Input:
    return prepare(image, size)[:, ::-1]


def _centre(image: Picture, size: Size) -> Picture:
    height, width = image.shape[:2]
    h, w = min(height, width * size[0] // size[1]), min(width, height * size[1] // size[0])
    top, left = (height - h) // 2, (width - w) // 2
    return image[top : top + h, left : left + w]


def _in_range(image: Picture) -> Input:
    return image * np.float32(1 / 255)


@dataclass(frozen=True)
class Mistake:
    """One thing that is done in another way.

    Attributes:
        name: says what.
        see: makes a float frame of the model's size out of a picture.
        rate: frames a second; None is the model's, 0 every frame of the file.
        carries: the state goes from frame to frame; else each is the first.
        resets: the state starts anew with each clip.
    """

    name: str
    see: Callable[[Picture, Size], Input] = _right
    rate: float | None = None
    carries: bool = True
    resets: bool = True


MISTAKES = (
    Mistake("none"),
    Mistake("as published", _published),  # no mistake: for comparison
    Mistake("BGR", _bgr),
    Mistake("range [-1, 1]", _signed),
    Mistake("range 0 to 255", _bytes),
    Mistake("ImageNet's mean and deviation", _imagenet),
    Mistake("nearest pixel", _nearest),
    Mistake("bilinear, not antialiased", _aliased),
    Mistake("stretched", _stretched),
    Mistake("padded with black", _padded),
    Mistake("mirrored", _mirrored),
    Mistake("every frame of the file", rate=0),
    Mistake("1 frame a second", rate=1),
    Mistake("state not carried", carries=False),
    Mistake("state never reset", resets=False),
)


@dataclass
class Outcome:
    """What a model said with one mistake: the right class's probability after each clip."""

    mistake: str
    names: list[str] = field(default_factory=list)
    probabilities: list[float] = field(default_factory=list)
    right: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        low, high = interval(self.right, len(self.names))
        return {
            "mistake": self.mistake,
            "clips": len(self.names),
            "top1": self.right / len(self.names),
            "low": low,
            "high": high,
            "mean": float(np.mean(self.probabilities)),
            "probabilities": [
                list(pair) for pair in zip(self.names, self.probabilities, strict=True)
            ],
        }


def trial(
    model: StreamModel,
    shown: Iterable[Shown],
    mistakes: Sequence[Mistake] = MISTAKES,
    progress: Callable[[str], None] = lambda name: None,
) -> list[Outcome]:
    """Show every clip with every mistake.

    Raises:
        LabelsError, SourceError: a label that the model does not know, an unreadable clip.
    """
    outcomes = [Outcome(mistake.name) for mistake in mistakes]
    streams = [model.stream() for _ in mistakes]
    for source, label in shown:
        progress(source.name)
        truth = match_labels([label], model.labels, str(model.path))[label]
        for mistake, outcome, stream in zip(mistakes, outcomes, streams, strict=True):
            probabilities = _after(stream, source, mistake)
            outcome.names.append(source.name)
            outcome.probabilities.append(float(probabilities[truth]))
            outcome.right += int(probabilities.argmax()) == truth
    return outcomes


def _after(stream: StreamClassifier, source: Source, mistake: Mistake) -> NDArray[np.float32]:
    """Return the probabilities after a clip's last frame."""
    if mistake.resets:
        stream.reset()
    rate = stream.fps if mistake.rate is None else mistake.rate
    for frame in source.sampled(rate) if rate else source:
        if not mistake.carries:
            stream.reset()
        seen = np.ascontiguousarray(mistake.see(frame.image, stream.size))
        prediction = stream.step_as_is(seen)
    return prediction.probabilities


def drawn(count: int, side: int = DRAWN_SIDE) -> Iterator[Shown]:
    """Draw test clips as a camera's file would have them: 30 frames a second, 16 : 9."""
    for clip in drawn_clips("test", count):
        pictures = render(clip, round(DRAWN_SECONDS * DRAWN_FPS), DRAWN_FPS, side)
        margin = (0, 0), (round(side * (WIDTH - 1) / 2),) * 2, (0, 0)
        # The margins mirror the picture: only who does not cut them off sees them.
        wide = [np.pad(picture, margin, "reflect") for picture in pictures]
        frames = [Frame(picture, i / DRAWN_FPS, 1 / DRAWN_FPS) for i, picture in enumerate(wide)]
        yield FrameSource(f"figure {clip.index}", frames), clip.label


def outcome_table(outcomes: Sequence[Outcome]) -> Table:
    """A row a mistake: right answers, and how probable the right class was."""
    table = Table(box=None, pad_edge=False)
    names = outcomes[0].names
    each = [Path(name).stem for name in names] if len(names) <= NAMED_CLIPS else []
    table.add_column("mistake")
    for column in ("right", "95 %", "probability", *each):
        table.add_column(column, justify="right", no_wrap=True)
    for outcome in outcomes:
        low, high = interval(outcome.right, len(names))
        table.add_row(
            outcome.mistake,
            f"{outcome.right} of {len(names)}",
            f"{100 * low:.1f}-{100 * high:.1f} %",
            f"{np.mean(outcome.probabilities):.3f}",
            *(f"{value:.3f}" for value in outcome.probabilities[: len(each)]),
        )
    return table


def main(
    model: Annotated[Path | None, typer.Argument(help="Default: the embedded one.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Clips as for 'movinet accuracy'; default: drawn ones.")
    ] = None,
    videos: Annotated[Path | None, typer.Option(help="The folder of a list's files.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Names of the classes, one a line.")] = None,
    count: Annotated[int, typer.Option("--drawn", min=1, help="How many to draw.")] = DRAWN,
    side: Annotated[
        int, typer.Option(min=32, help="Height of drawn pictures: how much is lost in resizing.")
    ] = DRAWN_SIDE,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """Measure what common mistakes before the network cost."""
    named = None if labels is None else read_labels(labels)
    loaded = StreamModel(model or embedded.MODEL, labels=named)
    console = Console(stderr=True)
    if data is None:
        shown: Iterable[Shown] = drawn(count, side)
    else:
        found = find_clips(data, videos, loaded.labels, min_classes=1)
        shown = ((open_clip(clip, loaded.fps), clip.label) for clip in found)
    with console.status("") as status:
        outcomes = trial(loaded, shown, progress=lambda name: status.update(Path(name).name))
    if as_json:
        print(json.dumps([outcome.as_json() for outcome in outcomes], indent=2))
    else:
        Console().print(outcome_table(outcomes))


if __name__ == "__main__":
    run(main)
