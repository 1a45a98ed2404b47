"""Statistics of the float model on streams, with its real states.

Each clip is a stream of its own, and then all of them are one long stream without a reset,
so that scene changes and long averages are seen too.
"""

import glob
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from movinet_convert.graph import Graph
from movinet_convert.quantize.observing import (
    Observer,
    Probes,
    Ranges,
    Sums,
    of_streams,
    ranges,
    sums,
    wider,
)
from movinet_models.figures import drawn
from movinet_runtime.errors import SourceError
from movinet_runtime.sources.clips import frames_at
from movinet_runtime.sources.files import IMAGES

Frames = list[NDArray[np.uint8]]
Moments = dict[str, NDArray[np.float64]]

MIN_CLIP_FRAMES = 2
MIN_FRAMES = 16
# Wider inputs have more directions than a few hundred frames can tell apart.
MAX_CHANNELS = 1000
DRAWN_CLIPS = 24
# Rendered streams that join the clips: noise excites directions that a few scenes leave out.
NOISE_STREAMS, NOISE_FRAMES = 4, 12


@dataclass(frozen=True)
class Clips:
    """Decoded clips at the model's size and rate, and what became of the others."""

    clips: list[Frames]
    names: list[str]
    skipped: list[str]  # name and reason

    @property
    def frames(self) -> int:
        """Number of frames of all clips."""
        return sum(len(clip) for clip in self.clips)

    @property
    def stills(self) -> list[str]:
        """Names of clips in which nothing ever changes: a frozen camera, a black video."""
        return [
            name
            for name, clip in zip(self.names, self.clips, strict=True)
            if all(np.array_equal(clip[0], frame) for frame in clip)
        ]

    @property
    def digest(self) -> str:
        """SHA-256 of all frames in order."""
        digest = hashlib.sha256()
        for clip in self.clips:
            for frame in clip:
                digest.update(frame.tobytes())
        return digest.hexdigest()

    def joined(self) -> list[Frames]:
        """Return all clips as one stream; nothing where there is only one."""
        return [[frame for clip in self.clips for frame in clip]] if len(self.clips) > 1 else []


def read_clips(
    paths: Sequence[str],
    size: tuple[int, int],
    fps: float,
    report: Callable[[str], None] = lambda name: None,
) -> Clips:
    """Decode videos, GIFs, folders and globs; what cannot be used is named and skipped.

    A folder with videos in it gives a clip for each file, one with only images one clip.

    Args:
        paths: files, folders or patterns.
        size: (height, width) of the model.
        fps: of the model.
        report: called with each file's name before it is decoded.

    Raises:
        SourceError: nothing matches, nothing can be used, or too few frames.
    """
    found = Clips([], [], [])
    for path in sorted({match for pattern in paths for match in _matches(pattern)}):
        report(path.name)
        try:
            clip = list(frames_at(path, size, fps))
        except SourceError as error:
            found.skipped.append(str(error))
            continue
        if len(clip) < MIN_CLIP_FRAMES:
            found.skipped.append(f"{path} has only {len(clip)} frame at {fps:g} a second")
            continue
        found.clips.append(clip)
        found.names.append(path.name)
    if not found.clips:
        reasons = "; ".join(found.skipped) or "nothing there"
        raise SourceError(f"no clip can be used for calibration: {reasons}")
    if found.frames < MIN_FRAMES:
        raise SourceError(
            f"{found.frames} frames are too few for calibration; give {MIN_FRAMES} or more"
        )
    return found


def drawn_clips(size: tuple[int, int], fps: float) -> Clips:
    """Return clips of drawn figures, two of each action: for where no clips are given."""
    names = [f"drawn {i}" for i in range(DRAWN_CLIPS)]
    return Clips(drawn("train", DRAWN_CLIPS, size, fps), names, [])


def _matches(pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.is_file()]
        pictures = [file for file in files if file.suffix.lower() in IMAGES - {".gif"}]
        return [path] if pictures and len(pictures) == len(files) else files
    if path.exists():
        return [path]
    matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
    if not matches:
        raise SourceError(f"{pattern} does not exist")
    return matches


def second_moments(
    graph: Graph,
    seen: Clips,
    report: Callable[[int], None] = lambda frames: None,
    where: str | None = None,
    most: int = MAX_CHANNELS,
) -> Moments:
    """Measure E[x x^T] over pixels and frames at the inputs of pointwise convolutions.

    Each clip is a stream, then rendered noise, then all clips are one stream. Sums are of one
    stream each, and are added in this order.

    Args:
        graph: the float step graph.
        seen: what to stream through it.
        report: called with the frames of each stream that is finished.
        where: workers (:func:`movinet_runtime.workers.results`); None: this process.
        most: channels of an input that is measured.

    Raises:
        WorkersError: workers are not there, or died.

    Returns:
        Matrices [channels, channels] by tensor name.
    """
    inputs = {
        op.inputs[0]
        for op in graph.ops
        if op.kind == "CONV_2D" and graph.shape(op.inputs[1])[1:3] == (1, 1)
    }
    names = sorted(x for x in inputs if graph.shape(x)[3] <= most)
    if not names:
        return {}
    _, _, height, width, _ = graph.shape(graph.inputs["image"])
    noise = [
        list(moving_noise((height, width), NOISE_FRAMES, seed)) for seed in range(NOISE_STREAMS)
    ]
    streams = [*seen.clips, *noise, *seen.joined()]
    total = Sums({}, {})
    parts = of_streams(sums, Probes.of(graph, names), streams, where)
    for stream, part in zip(streams, parts, strict=True):
        total.add(part)
        report(len(stream))
    return {name: total.products[name] / total.pixels[name] for name in names}


def observed_ranges(
    graph: Graph, names: Sequence[str], seen: Clips, where: str | None = None
) -> Ranges:
    """Measure the least and the greatest value of tensors on clips, and as one long stream.

    Args:
        graph, seen, where: see :func:`second_moments`.
        names: of the tensors.
    """
    streams = [*seen.clips, *seen.joined()]
    found: Ranges = {}
    for part in of_streams(ranges, Probes.of(graph, names), streams, where):
        found = wider(found, part)
    return found


def observed(
    graph: Graph, names: Sequence[str], streams: Iterable[Iterable[NDArray[np.uint8]]]
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """Yield the named tensors after each frame of each stream."""
    observer = Observer(Probes.of(graph, names))
    for stream in streams:
        yield from observer.values(stream)


def moving_noise(size: tuple[int, int], frames: int, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    """Yield blocks of noise that drift: every frame differs from every other."""
    height, width = size
    shape = (height // 8 + 2, width // 8 + 2, 3)
    noise = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    texture = noise.repeat(8, axis=0).repeat(8, axis=1)
    for t in range(frames):
        shifted = np.roll(texture, (3 * t, 5 * t), axis=(0, 1))[:height, :width]
        yield (shifted * (0.5 + 0.5 * np.cos(t / 3) ** 2)).astype(np.uint8)
