"""Write frames as a video or an animation."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from movinet_runtime.errors import MissingPackageError, SourceError, UsageError
from movinet_runtime.files import written_whole

ANIMATIONS = (".gif", ".webp")
QUALITY = 23  # x264's constant rate factor: lower is better
PRESET = "veryfast"


def save_frames(
    path: Path, frames: Iterable[NDArray[np.uint8]], fps: float, quality: int = QUALITY
) -> int:
    """Write frames as ``.gif``, ``.webp`` or a video (H.264; ``.mp4``, ``.mkv``, ``.mov``).

    Args:
        path: appears when it is whole.
        frames: uint8 [h, w, 3] RGB, all of one size; videos lose an odd last row or column.
        fps: frames a second.
        quality: constant rate factor of the video, 0 (lossless) to 51.

    Returns:
        The number of frames.

    Raises:
        UsageError: the name's ending is no known format, or the file cannot be written.
        SourceError: no frames.
        MissingPackageError: a video without PyAV.
    """
    path = Path(path)
    with written_whole(path) as temporary:
        if path.suffix.lower() in ANIMATIONS:
            count = _save_animation(temporary, frames, fps)
        else:
            count = _save_video(temporary, frames, fps, quality)
        if not count:
            raise SourceError(f"no frames for {path}")
    return count


def _save_animation(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float) -> int:
    pictures = [Image.fromarray(frame) for frame in frames]
    if pictures:
        first, *others = pictures
        first.save(path, save_all=True, append_images=others, duration=round(1000 / fps), loop=0)
    return len(pictures)


def _save_video(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float, quality: int) -> int:
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(
            f"{path.suffix} files need PyAV: pip install 'movinet-runtime[video]'"
        ) from error
    count = 0
    try:
        with av.open(str(path), "w") as container:
            stream: Any = None
            for frame in frames:
                height, width = (side // 2 * 2 for side in frame.shape[:2])
                if stream is None:
                    rate = Fraction(fps).limit_denominator(1000)
                    options = {"crf": str(quality), "preset": PRESET, "threads": "1"}
                    stream = container.add_stream("libx264", rate, options=options)
                    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                picture = av.VideoFrame.from_ndarray(
                    np.ascontiguousarray(frame[:height, :width]), format="rgb24"
                )
                container.mux(stream.encode(picture))
                count += 1
            if stream is not None:
                container.mux(stream.encode(None))
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(
            f"cannot write a video to {path.suffix or 'no ending'}: {reason}"
        ) from error
    return count
