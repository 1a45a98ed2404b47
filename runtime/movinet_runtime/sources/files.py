"""Videos, animations and images on disk."""

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, ImageSequence, UnidentifiedImageError

from movinet_runtime.errors import MissingPackageError, SourceError
from movinet_runtime.install import install_hint
from movinet_runtime.sources.decode import reason, upright
from movinet_runtime.sources.frame import Frame
from movinet_runtime.sources.network import OPEN_TIMEOUT, READ_TIMEOUT
from movinet_runtime.sources.remote import RemoteFile
from movinet_runtime.sources.skipping import Looks, packets_seen
from movinet_runtime.sources.source import FrameSource, Say, Source

IMAGES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
# What browsers show a GIF frame for that gives no duration.
DEFAULT_DURATION = 0.1


@dataclass(frozen=True)
class Video:
    """The frames of a video file, or of one behind an address.

    Attributes:
        path: what FFmpeg opens, or a file behind an address.
        name: for messages, without passwords.
        begin: seconds after the first frame; the frame that is seen then comes first, and
            decoding starts at the key frame before it.
        threads: of the decoder; 0: as many as FFmpeg takes.
        looks: frames a second at which somebody looks from ``begin`` on; what is not seen then,
            and no other frame is made from, may be missing. 0: all are wanted. Needs one thread.
        stands: whether the last frame is what is seen at a begin after the end; else nothing is.
    """

    path: Path | str | RemoteFile
    name: str
    begin: float = 0.0
    threads: int = 0
    looks: float = 0.0
    stands: bool = True

    def __iter__(self) -> Iterator[Frame]:
        import av

        try:
            # Without an index, or with a wrong one, a seek leads anywhere: then from the start.
            for seek in (True, False):
                with _container(self.path) as container:
                    _decode_with(container.streams.video[0], self.threads)
                    frames = _frames_from(container, self.begin, seek, self.looks, self.stands)
                    if frames is not None:
                        yield from frames
                        return
        except (av.FFmpegError, OSError) as error:
            raise SourceError(f"{self.name} breaks off: {reason(error)}") from None


@contextmanager
def _container(path: Path | str | RemoteFile) -> Iterator[Any]:
    import av

    if isinstance(path, RemoteFile):
        with path.open() as file, av.open(file) as container:
            yield container
        return
    # A server may fall silent, a disk does not.
    timeout = (OPEN_TIMEOUT, READ_TIMEOUT) if "://" in str(path) else None
    with av.open(str(path), timeout=timeout) as container:
        yield container


def _decode_with(stream: Any, threads: int) -> None:
    stream.thread_type = "AUTO"
    if threads:
        stream.codec_context.thread_count = threads


def _frames_from(
    container: Any, seconds: float, seek: bool, fps: float, stands: bool
) -> Iterator["_Decoded"] | None:
    """Decode from a moment after the first frame on; None where the seek missed it."""
    import av

    stream = container.streams.video[0]
    looks = Looks(fps) if fps else None
    frames = _frames(container, stream, looks)
    first = next(frames, None)
    if looks is not None and first is not None:
        looks.start = first.time + seconds if first.timed else None
    if first is None or seconds <= 0:
        return chain([first] if first else [], frames)
    begin = first.time + seconds
    if seek:
        if not first.timed:
            return None
        try:
            container.seek(math.floor(begin / stream.time_base), stream=stream)
        except (av.FFmpegError, OSError):
            return None
        frames = _frames(container, stream, looks)
        first = next(frames, None)
        if first is None or first.time > begin:
            return None
    return _seen_from(chain([first], frames), begin, stands)


def _seen_from(frames: Iterator["_Decoded"], begin: float, stands: bool) -> Iterator["_Decoded"]:
    """Yield the frame that is seen at a moment, as if it began then, and those after it.

    The last frame is seen for its duration, or as long as the one before it; or it stands.
    """
    held: _Decoded | None = None
    gap = 0.0
    for frame in frames:
        if held is not None and frame.time > begin:
            held.begin_at(begin)
            yield held
            yield frame
            yield from frames
            return
        gap = 0.0 if held is None else frame.time - held.time
        held = frame
    if held is not None and (stands or begin < held.time + (held.duration or gap)):
        held.begin_at(begin)
        yield held


def _frames(container: Any, stream: Any, looks: Looks | None) -> Iterator["_Decoded"]:
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    last = -1 / rate
    for picture in _decoded(container, stream, looks):
        last = last + 1 / rate if picture.time is None else float(picture.time)
        duration = float((picture.duration or 0) * (picture.time_base or 0))
        yield _Decoded(picture, last, duration)


def _decoded(container: Any, stream: Any, looks: Looks | None) -> Iterator[Any]:
    """Decode a stream; what is damaged in the middle is left out, as players do."""
    import av

    every = ((packet, True) for packet in container.demux(stream))
    for packet, seen in every if looks is None else packets_seen(container, stream, looks):
        if looks is not None:
            stream.codec_context.skip_frame = "DEFAULT" if seen else "NONREF"
        try:
            pictures = packet.decode()
        except av.InvalidDataError:
            continue
        yield from pictures


class _Decoded(Frame):
    """A frame of a video; it becomes RGB when it is looked at, which most never are."""

    def __init__(self, picture: Any, time: float, duration: float) -> None:
        values = {"picture": picture, "time": time, "duration": duration, "reopened": False}
        self.__dict__.update(values)

    @property
    def timed(self) -> bool:
        """Whether the container says when it is seen."""
        return self.__dict__["picture"].time is not None

    def begin_at(self, time: float) -> None:
        """Cut off what is seen before a moment."""
        values = self.__dict__
        values["duration"] = max(0.0, values["duration"] - max(0.0, time - values["time"]))
        values["time"] = time

    def __getattr__(self, name: str) -> Any:
        if name != "image":
            raise AttributeError(name)
        image = self.__dict__["image"] = upright(self.__dict__["picture"])
        return image


def open_video(path: Path | RemoteFile, report: Say) -> FrameSource:
    """Open a video file.

    Raises:
        SourceError: it is none, or cannot be read.
        MissingPackageError: PyAV is not installed, or what opens such addresses.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(
            f"{path} needs PyAV to be read: {install_hint('movinet-runtime[video]')}"
        ) from error
    try:
        with _container(path) as container:
            if not container.streams.video:
                raise SourceError(f"{path} has no video stream")
            length = container.duration
    except (av.FFmpegError, OSError) as error:
        raise SourceError(f"{path} is no video that can be read: {reason(error)}") from error
    seconds = length / av.time_base if length else None
    return FrameSource(str(path), Video(path, str(path)), seconds, report)


def from_moment(source: Source, seconds: float, threads: int = 0) -> FrameSource | None:
    """Return a video's frames from a moment after its first frame on; None if it is none.

    The same frames as by waiting for the moment, but decoding begins at the key frame before it,
    in so many threads (0: as many as FFmpeg takes).
    """
    if not isinstance(source, FrameSource) or not isinstance(source.frames, Video):
        return None
    video = replace(source.frames, begin=seconds, threads=threads)
    return FrameSource(source.name, video, report=source.report)


@dataclass(frozen=True)
class Animation:
    """The frames of an animated or still image."""

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


def open_images(name: str, files: Iterable[Path], fps: float) -> FrameSource:
    """Take images for frames, in the natural order of their names."""
    paths = [file for file in files if file.suffix.lower() in IMAGES]
    if not paths:
        raise SourceError(f"{name} holds no images ({', '.join(sorted(IMAGES))})")
    return FrameSource(name, _Folder(sorted(paths, key=_natural), fps), len(paths) / fps)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Order frame9 before frame10."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels as they are to be seen: photographs note how the camera was held."""
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # Pillow clips 16 bits where it should scale them
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    return np.asarray(image.convert("RGB"))


def _unreadable(path: Path, error: Exception) -> SourceError:
    known = not isinstance(error, UnidentifiedImageError)
    return SourceError(f"{path} cannot be read as an image{f': {error}' if known else ''}")
