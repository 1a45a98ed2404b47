"""Write frames as a video or an animation."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.classifier import Prediction
from movinet_runtime.decisions import Selection
from movinet_runtime.errors import MissingPackageError, OutputError
from movinet_runtime.files import writing, written_whole
from movinet_runtime.install import install_hint
from movinet_runtime.outputs.animation import ANIMATIONS, LONGEST_ANIMATION, AnimationWriter
from movinet_runtime.outputs.output import Sink
from movinet_runtime.outputs.overlay import Overlay
from movinet_runtime.sources.frame import Frame

Write = Callable[[NDArray[np.uint8]], None]

# FFmpeg's names of the formats that hold H.264; others would take it and give a broken file.
VIDEOS = {".mp4": "mp4", ".m4v": "mp4", ".mkv": "matroska", ".mov": "mov"}
QUALITY = 23  # x264's constant rate factor: lower is better
PRESET = "veryfast"


class Writer(Protocol):
    """What makes a file of frames."""

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add a frame."""

    def finish(self) -> bool:
        """Complete the file; return whether there were frames."""

    def abandon(self) -> None:
        """Let go of the file."""


@contextmanager
def frame_writer(
    path: Path, fps: float, quality: int = QUALITY, key_frames: float | None = None
) -> Iterator[Write]:
    """Give a function that adds a frame, uint8 [h, w, 3] RGB, all of one size.

    Args:
        path: ``.gif``, ``.webp`` or a video (H.264 in ``.mp4``, ``.m4v``, ``.mkv``,
            ``.mov``; special files without an ending get MP4); it appears when the block
            ends well, and videos lose an odd last row or column.
        fps: frames a second.
        quality: constant rate factor of the video, 0 (lossless) to 51.
        key_frames: seconds from one to the next, for videos that are read from anywhere and
            often: they are also made to be decoded fast. None: as small as it gets.

    Raises:
        OutputError: no such format, no frames, too many for an animation, or the file
            cannot be written.
        MissingPackageError: a video without PyAV.
    """
    path = Path(path)
    with _frames_written(path, fps, quality, key_frames) as (write, written):
        yield write
        if not written():
            raise OutputError(f"no frames for {path}")


@contextmanager
def _frames_written(
    path: Path, fps: float, quality: int = QUALITY, key_frames: float | None = None
) -> Iterator[tuple[Write, Callable[[], int]]]:
    """Give a function that adds a frame and one that counts them; without any, no file."""
    count = 0
    form = _format(path)

    def write(frame: NDArray[np.uint8]) -> None:
        nonlocal count
        with writing(path):
            writer.write(frame)
        count += 1

    with suppress(_Nothing), written_whole(path) as temporary:
        with writing(path):
            writer: Writer = (
                AnimationWriter(temporary, path, fps)
                if form is None
                else _VideoWriter(temporary, form, fps, quality, key_frames)
            )
        try:
            yield write, lambda: count
            with writing(path):
                if not writer.finish():
                    raise _Nothing
        except BaseException:
            writer.abandon()
            raise


class _Nothing(Exception):  # noqa: N818 (no error: the file stays as it was)
    """There were no frames."""


def save_frames(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    fps: float,
    quality: int = QUALITY,
    key_frames: float | None = None,
) -> None:
    """Write frames to a file: see :func:`frame_writer`."""
    with frame_writer(path, fps, quality, key_frames) as write:
        for frame in frames:
            write(frame)


@contextmanager
def labelled_video(
    path: Path,
    selection: Selection,
    fps: float,
    total: int | None,
    report: Callable[[str], None],
) -> Iterator[Sink]:
    """Write frames with their labels and curves.

    Args:
        path: see :func:`frame_writer`; without frames it stays as it was.
        selection: the labels that count.
        fps: frames a second.
        total: how many there will be, where it is known.
        report: told beforehand if an animation will not hold them all.

    Raises:
        OutputError, MissingPackageError: see :func:`frame_writer`.
    """
    animated = _format(path) is None
    if animated and (total is None or total > LONGEST_ANIMATION):
        report(f"{path} will hold the first {LONGEST_ANIMATION} frames; .mp4 holds all")
    overlay = Overlay(total=total, selection=selection)
    with _frames_written(path, fps) as (write, written):

        def sink(frame: Frame, prediction: Prediction) -> None:
            if not animated or written() < LONGEST_ANIMATION:
                write(overlay.draw(frame.image, prediction))

        yield sink


def _format(path: Path) -> str | None:
    """Return FFmpeg's name of the format, None for animations.

    Raises:
        OutputError: no such format.
    """
    ending = path.suffix.lower()
    if not ending and path.exists() and not path.is_file():
        ending = ".mp4"
    if ending in ANIMATIONS:
        return None
    if ending not in VIDEOS:
        known = ", ".join((*VIDEOS, *ANIMATIONS))
        raise OutputError(f"cannot write a video named *{ending}; try .mp4 or .gif ({known})")
    return VIDEOS[ending]


class _VideoWriter:
    def __init__(
        self, path: Path, form: str, fps: float, quality: int, key_frames: float | None
    ) -> None:
        try:
            import av
        except ImportError as error:
            raise MissingPackageError(
                f"videos need PyAV: {install_hint('movinet-runtime[video]')}"
            ) from error
        self._av = av
        # A file of our own: PyAV leaves its file open when the disk is full.
        self._file = path.open("wb", buffering=0)
        self._container = av.open(self._file, "w", format=form)
        self._rate = Fraction(fps).limit_denominator(1000)
        # One thread: the same frames give the same bytes.
        self._options = {"crf": str(quality), "preset": PRESET, "threads": "1"}
        if key_frames is not None:
            distance = str(max(1, round(key_frames * fps)))
            self._options |= {"g": distance, "tune": "fastdecode"}
        self._stream: Any = None

    def write(self, frame: NDArray[np.uint8]) -> None:
        height, width = (side // 2 * 2 for side in frame.shape[:2])
        if self._stream is None:
            stream = self._container.add_stream("libx264", self._rate, options=self._options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            self._stream = stream
        even = np.ascontiguousarray(frame[:height, :width])
        picture = self._av.VideoFrame.from_ndarray(even, format="rgb24")
        self._container.mux(self._stream.encode(picture))

    def finish(self) -> bool:
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        self._file.close()
        return self._stream is not None

    def abandon(self) -> None:
        with suppress(OSError, self._av.FFmpegError):  # what failed may fail again
            self._container.close()
        self._file.close()
