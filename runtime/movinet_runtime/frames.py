"""Frames with their times from files, folders, cameras and network streams."""

import glob
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError

from movinet_runtime.errors import MissingPackageError, SourceError
from movinet_runtime.install import install_hint

if TYPE_CHECKING:
    from movinet_runtime.live import Live

IMAGES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
# What browsers show a GIF frame for that gives no duration.
DEFAULT_DURATION = 0.1
# Two sampling instants are never closer than this; timestamps are rounded by containers.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Frame:
    """A decoded picture, upright."""

    image: NDArray[np.uint8]  # [h, w, 3] RGB
    time: float  # seconds, from any origin
    duration: float = 0.0  # seconds it is meant to be seen; 0: not known
    reopened: bool = False  # the first one after a live source was lost


@dataclass(frozen=True)
class FrameSource:
    """Something that gives frames, each time from the start.

    ``duration`` is what the container claims, in seconds, for progress bars only;
    ``live`` is the camera or stream, where it is one.
    """

    name: str
    frames: Iterable[Frame]
    duration: float | None = None
    live: "Live | None" = None

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def sampled(self, fps: float) -> Iterator[Frame]:
        """Yield frames at a fixed rate, chosen by their timestamps.

        A live source gives its newest frame, and never repeats one.

        Raises:
            SourceError: the source has no frames, or breaks off with an error.
        """
        if self.live is not None:
            yield from self.live.sampled(fps)
            return
        empty = True
        for frame in sample(self.frames, fps):
            empty = False
            yield frame
        if empty:
            raise SourceError(f"{self.name} has no frames")


def open_frames(
    source: Path | str,
    image_fps: float = 5.0,
    size: tuple[int, int] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> FrameSource:
    """Open anything that gives frames.

    Args:
        source: a video file, an animation (GIF, WebP, PNG), an image, a folder or a
            pattern of images; ``camera:N`` or ``/dev/videoN``; ``picamera:N``; an
            rtsp://, http:// or https:// address; ``-`` for raw RGB on standard input.
        image_fps: how fast images, or raw frames, follow each other.
        size: (width, height) of raw frames.
        report: called with a line when a live source is lost, and when it is back.

    Raises:
        SourceError: missing, or not a kind of source that can be read.
        MissingPackageError: a video without PyAV, a Pi camera without Picamera2.
    """
    name = str(source)
    if name == "-" or _is_live(name):
        return _open_live(name, image_fps, size, report)
    if "://" in name:
        return _open_url(name, report)
    path = Path(source)
    if not path.exists():
        matches = [Path(match) for match in glob.glob(name)]
        if not matches:
            raise SourceError(f"{path} does not exist")
        return _open_images(name, matches, image_fps)
    if path.is_dir():
        return _open_images(name, list(path.iterdir()), image_fps)
    if path.suffix.lower() in IMAGES:
        return FrameSource(name, _Animation(path))
    return _open_video(path)


def _is_live(name: str) -> bool:
    return name.startswith(("camera:", "picamera:", "/dev/video", "rtsp://", "rtsps://"))


def _open_live(
    name: str, fps: float, size: tuple[int, int] | None, report: Callable[[str], None]
) -> FrameSource:
    from movinet_runtime import live

    if name == "-":
        if size is None:
            raise SourceError("raw frames on standard input need --size WIDTHxHEIGHT")
        return FrameSource("standard input", live.raw_frames(size, fps))
    kind, _, number = name.partition(":")
    if kind in ("camera", "picamera"):
        if not number.isdigit():
            raise SourceError(f"'{name}': which one? {kind}:0 is the first")
        opener = (
            live.picamera(int(number)) if kind == "picamera" else live.v4l2(f"/dev/video{number}")
        )
    else:
        opener = live.network(name) if "://" in name else live.v4l2(name)
    return FrameSource(name, (), live=live.Live(name, opener, report))


def _open_url(url: str, report: Callable[[str], None]) -> FrameSource:
    """A file behind an address has a length; what has none is live."""
    from movinet_runtime import live

    container = live.open_network(url)
    length = container.duration
    container.close()
    if length is None or length <= 0:
        return FrameSource(url, (), live=live.Live(url, live.network(url), report))
    import av

    return FrameSource(url, _Video(url), length / av.time_base)


def sample(frames: Iterable[Frame], fps: float) -> Iterator[Frame]:
    """Yield, at the instants k/fps after the first frame, the frame that is then seen.

    Slower sources repeat frames, faster ones lose some; a frame that is not later than
    the one before it is dropped. The times given out start at 0.

        source  |0----|1----|2----|3----|      k/fps  0     1     2
        sampled  0           1           3            ^     ^     ^
    """
    if not fps > 0:
        raise SourceError(f"frames per second must be positive, not {fps}")
    start, shown, k = 0.0, None, 0
    gap = 1 / fps
    for frame in frames:
        if shown is None:
            start = frame.time
        elif frame.time <= shown.time:
            continue
        else:
            gap = frame.time - shown.time
            while start + k / fps < frame.time - TOLERANCE:
                yield Frame(shown.image, k / fps)
                k += 1
        shown = frame
    if shown is not None:
        end = shown.time + (shown.duration or gap)
        while k == 0 or start + k / fps < end - TOLERANCE:
            yield Frame(shown.image, k / fps)
            k += 1


@dataclass(frozen=True)
class _Video:
    path: Path | str

    def __iter__(self) -> Iterator[Frame]:
        import av

        try:
            with av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                rate = float(stream.average_rate or stream.guessed_rate or 25)
                last = -1 / rate
                for picture in _decoded(container, stream):
                    last = last + 1 / rate if picture.time is None else float(picture.time)
                    duration = float((picture.duration or 0) * (picture.time_base or 0))
                    yield _Decoded(picture, last, duration)
        except (av.FFmpegError, OSError) as error:
            raise SourceError(f"{self.path} breaks off: {_reason(error)}") from error


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Decode a stream; what is damaged in the middle is left out, as players do."""
    import av

    for packet in container.demux(stream):
        try:
            pictures = packet.decode()
        except av.InvalidDataError:
            continue
        yield from pictures


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


class _Decoded(Frame):
    """A frame of a video; it becomes RGB when it is looked at, which most never are."""

    def __init__(self, picture: Any, time: float, duration: float) -> None:
        values = {"picture": picture, "time": time, "duration": duration, "reopened": False}
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        if name != "image":
            raise AttributeError(name)
        image = self.__dict__["image"] = upright(self.__dict__["picture"])
        return image


def _open_video(path: Path) -> FrameSource:
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(
            f"{path} needs PyAV to be read: {install_hint('movinet-runtime[video]')}"
        ) from error
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise SourceError(f"{path} has no video stream")
            length = container.duration
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{path} is no video that can be read: {_reason(error)}") from error
    return FrameSource(str(path), _Video(path), length / av.time_base if length else None)


def upright(picture: Any) -> NDArray[np.uint8]:
    """Decode to RGB and undo the rotation that the container notes (90 degree steps)."""
    # One thread: starting one for each core takes longer than converting a small frame.
    image = picture.to_ndarray(format="rgb24", threads=1)
    turns = round(picture.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


@dataclass(frozen=True)
class _Animation:
    path: Path

    def __iter__(self) -> Iterator[Frame]:
        time = 0.0
        try:
            with Image.open(self.path) as image:
                for picture in ImageSequence.Iterator(image):
                    duration = picture.info.get("duration", 0) / 1000 or DEFAULT_DURATION
                    yield Frame(_rgb(picture), time, duration)
                    time += duration
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise _unreadable(self.path, error) from error


@dataclass(frozen=True)
class _Folder:
    paths: list[Path]
    fps: float

    def __iter__(self) -> Iterator[Frame]:
        for i, path in enumerate(self.paths):
            try:
                with Image.open(path) as image:
                    yield Frame(_rgb(image), i / self.fps, 1 / self.fps)
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
                raise _unreadable(path, error) from error


def _open_images(name: str, files: Iterable[Path], fps: float) -> FrameSource:
    paths = [file for file in files if file.suffix.lower() in IMAGES]
    if not paths:
        raise SourceError(f"{name} holds no images ({', '.join(sorted(IMAGES))})")
    return FrameSource(name, _Folder(sorted(paths, key=_natural), fps), len(paths) / fps)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Order frame9 before frame10."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):  # Pillow clips 16 bits where it should scale them
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def _unreadable(path: Path, error: Exception) -> SourceError:
    known = not isinstance(error, UnidentifiedImageError)
    return SourceError(f"{path} cannot be read as an image{f': {error}' if known else ''}")
