"""Where frames come from: files, folders, cameras, network streams, pipes."""

import glob
from collections.abc import Callable
from pathlib import Path

from movinet_runtime.errors import SourceError
from movinet_runtime.sources import camera, network
from movinet_runtime.sources.files import IMAGES, Animation, Video, open_images, open_video
from movinet_runtime.sources.live import Live
from movinet_runtime.sources.pipe import raw_frames
from movinet_runtime.sources.source import FrameSource


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
        return open_images(name, matches, image_fps)
    if path.is_dir():
        return open_images(name, list(path.iterdir()), image_fps)
    if path.suffix.lower() in IMAGES:
        return FrameSource(name, Animation(path))
    return open_video(path)


def _is_live(name: str) -> bool:
    return name.startswith(("camera:", "picamera:", "/dev/video", "rtsp://", "rtsps://"))


def _open_live(
    name: str, fps: float, size: tuple[int, int] | None, report: Callable[[str], None]
) -> FrameSource:
    if name == "-":
        if size is None:
            raise SourceError("raw frames on standard input need --size WIDTHxHEIGHT")
        return FrameSource("standard input", raw_frames(size, fps))
    kind, _, number = name.partition(":")
    if kind in ("camera", "picamera"):
        if not number.isdigit():
            raise SourceError(f"'{name}': which one? {kind}:0 is the first")
        opener = (
            camera.picamera(int(number))
            if kind == "picamera"
            else camera.v4l2(f"/dev/video{number}")
        )
    else:
        opener = network.network(name) if "://" in name else camera.v4l2(name)
    return FrameSource(name, (), live=Live(name, opener, report))


def _open_url(url: str, report: Callable[[str], None]) -> FrameSource:
    """A file behind an address has a length; what has none is live."""
    container = network.open_network(url)
    length = container.duration
    container.close()
    if length is None or length <= 0:
        return FrameSource(url, (), live=Live(url, network.network(url), report))
    import av

    return FrameSource(url, Video(url), length / av.time_base)
