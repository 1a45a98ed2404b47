"""Write frames as a video or an animation."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from movinet_runtime.errors import MissingPackageError, UsageError
from movinet_runtime.files import written_whole
from movinet_runtime.install import install_hint

Write = Callable[[NDArray[np.uint8]], None]

ANIMATIONS = (".gif", ".webp")
QUALITY = 23  # x264's constant rate factor: lower is better
PRESET = "veryfast"


@contextmanager
def frame_writer(path: Path, fps: float, quality: int = QUALITY) -> Iterator[Write]:
    """Give a function that adds a frame, uint8 [h, w, 3] RGB, all of one size.

    Args:
        path: ``.gif``, ``.webp`` or a video (H.264 in ``.mp4``, ``.mkv``, ``.mov``); it
            appears when the block ends well, and videos lose an odd last row or column.
        fps: frames a second.
        quality: constant rate factor of the video, 0 (lossless) to 51.

    Raises:
        UsageError: no such format, no frames, or the file cannot be written.
        MissingPackageError: a video without PyAV.
    """
    path = Path(path)
    open_writer = _animation if path.suffix.lower() in ANIMATIONS else _video
    with written_whole(path) as temporary:
        try:
            with open_writer(temporary, fps, quality) as write:
                yield write
        except BrokenPipeError:  # of the caller's own output
            raise
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
        if not temporary.stat().st_size:
            raise UsageError(f"no frames for {path}")


def save_frames(
    path: Path, frames: Iterable[NDArray[np.uint8]], fps: float, quality: int = QUALITY
) -> None:
    """Write frames to a file: see :func:`frame_writer`."""
    with frame_writer(path, fps, quality) as write:
        for frame in frames:
            write(frame)


@contextmanager
def _animation(path: Path, fps: float, quality: int) -> Iterator[Write]:
    pictures: list[Image.Image] = []
    yield lambda frame: pictures.append(Image.fromarray(frame))
    if pictures:
        first, *others = pictures
        duration = round(1000 / fps)
        first.save(path, save_all=True, append_images=others, duration=duration, loop=0)


@contextmanager
def _video(path: Path, fps: float, quality: int) -> Iterator[Write]:
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(
            f"{path.suffix} files need PyAV: {install_hint('movinet-runtime[video]')}"
        ) from error
    try:
        container = av.open(str(path), "w")
    except ValueError as error:  # the ending is no format
        raise UsageError(f"cannot write a video named *{path.suffix}; try .mp4 or .gif") from error
    stream: Any = None

    def write(frame: NDArray[np.uint8]) -> None:
        nonlocal stream
        height, width = (side // 2 * 2 for side in frame.shape[:2])
        if stream is None:
            # One thread: the same frames give the same bytes.
            options = {"crf": str(quality), "preset": PRESET, "threads": "1"}
            rate = Fraction(fps).limit_denominator(1000)
            stream = container.add_stream("libx264", rate, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        even = np.ascontiguousarray(frame[:height, :width])
        container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))

    with container:
        yield write
        if stream is not None:
            container.mux(stream.encode(None))
