"""A frame with its answer and the curve of the probabilities under it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from movinet_runtime.classifier import Prediction
from movinet_runtime.decisions import Selection
from movinet_runtime.outputs.output import printable

# Told apart by people who see colours differently (Okabe and Ito).
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#0072b2")
PAPER, INK, FAINT = "#15181c", "#f2f2f2", "#4a5058"
CURVES = 5
WINDOW = 60  # frames of the curves, where nobody knows how many there will be
LONGEST_WINDOW = 1500  # and at most: more than the picture has columns


@dataclass
class Overlay:
    """Draws the frames of one stream, one after the other.

    Attributes:
        width: of the result, pixels; even, as videos want it.
        total: frames that the curves have room for, ``LONGEST_WINDOW`` at most; None: the
            last ``WINDOW``.
        selection: the labels that count.
    """

    width: int = 400
    total: int | None = None
    selection: Selection = field(default_factory=Selection)
    _probabilities: deque[NDArray[np.float32]] = field(init=False)
    _shown: list[int] = field(default_factory=list)  # classes with a colour, in order

    def __post_init__(self) -> None:
        room = min(self.total or WINDOW, LONGEST_WINDOW)
        self._probabilities = deque(maxlen=max(room, 2))

    def draw(self, image: NDArray[np.uint8], prediction: Prediction) -> NDArray[np.uint8]:
        """Return the picture, the best label and the curves: uint8 [height, width, 3]."""
        labels = prediction.labels
        self._probabilities.append(prediction.probabilities)
        best = self.selection.top(prediction, 1)
        for label, _ in self.selection.top(prediction, 2):
            index = labels.index(label)
            if index not in self._shown and len(self._shown) < len(COLOURS):
                self._shown.append(index)
        picture = Image.fromarray(image)
        height = round(picture.height * self.width / picture.width)
        line = max(14, self.width // 20)
        room = 5 * line
        legend = line * CURVES + line // 2
        sheet = Image.new("RGB", (self.width, _even(height + 2 * line + room + legend)), PAPER)
        sheet.paste(picture.resize((self.width, height), Image.Resampling.BILINEAR))
        draw = ImageDraw.Draw(sheet)
        font, small = ImageFont.load_default(line), ImageFont.load_default(line * 0.75)
        label, probability = best[0] if best else ("-", 0.0)
        top = height + line // 3
        draw.text((line // 2, top), printable(label), INK, font)
        draw.text((self.width - line // 2, top), f"{probability:.0%}", INK, font, anchor="ra")
        self._draw_curves(draw, (0, height + 2 * line, self.width, room))
        self._draw_legend(draw, labels, height + 2 * line + room, line, small)
        return np.asarray(sheet)

    def _draw_curves(self, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
        left, top, width, height = box
        count = self._probabilities.maxlen or 2
        recent = np.stack(self._probabilities)
        for share in (0.0, 0.5, 1.0):
            y = top + height * (1 - share)
            draw.line([left, y, left + width, y], FAINT)
        x = left + width * np.arange(len(recent)) / (count - 1)
        for index, colour in zip(self._shown, COLOURS, strict=False):
            heights = top + height * (1 - recent[:, index])
            points = list(zip(x.tolist(), heights.tolist(), strict=True))
            if len(points) > 1:
                draw.line(points, colour, 3, joint="curve")

    def _draw_legend(
        self,
        draw: ImageDraw.ImageDraw,
        labels: Sequence[str],
        top: int,
        line: int,
        font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    ) -> None:
        now = self._probabilities[-1]
        ranked = sorted(self._shown, key=lambda index: -now[index])[:CURVES]
        for row, index in enumerate(ranked):
            y = top + row * line + line // 4
            colour = COLOURS[self._shown.index(index)]
            draw.rectangle([line // 2, y + 2, line, y + line // 2 + 2], colour)
            draw.text((line * 1.4, y), printable(labels[index]), INK, font)
            draw.text((self.width - line // 2, y), f"{now[index]:.0%}", INK, font, anchor="ra")


def _even(size: int) -> int:
    return size + size % 2
