"""Where frames come from: files, folders, cameras, network streams, pipes."""

import glob
from pathlib import Path

from movinet_runtime.addresses import redacted
from movinet_runtime.errors import SourceError
from movinet_runtime.sources.camera import picamera, v4l2
from movinet_runtime.sources.files import IMAGES, Animation, Video, open_images, open_video
from movinet_runtime.sources.frame import checked_rate
from movinet_runtime.sources.live import LiveSource
from movinet_runtime.sources.network import network, open_network
from movinet_runtime.sources.pipe import PipeSource
from movinet_runtime.sources.source import FrameSource, Say, Source, silent

CAMERAS = ("camera:", "picamera:", "/dev/video")
LIVE_SCHEMES = ("rtsp://", "rtsps://")


def sounds_live(source: str) -> bool:
    """Whether a source is live by its name; an http address tells only when it is opened."""
    return source == "-" or source.startswith((*CAMERAS, *LIVE_SCHEMES))


def open_frames(
    source: Path | str,
    image_fps: float = 5.0,
    size: tuple[int, int] | None = None,
    report: Say = silent,
) -> Source:
    """Open anything that gives frames.

    Args:
        source: a video file, an animation (GIF, WebP, PNG), an image, a folder or a
            pattern of images; ``camera:N`` or ``/dev/videoN``; ``picamera:N``; an
            rtsp://, http:// or https:// address; ``-`` for raw RGB on standard input.
        image_fps: how fast images, or raw frames, follow each other.
        size: (width, height) of raw frames.
        report: called with a line when a live source is lost, when it is back, and about
            what was odd.

    Raises:
        SourceError: missing, or not a kind of source that can be read.
        MissingPackageError: a video without PyAV, a Pi camera without Picamera2.
    """
    name = str(source)
    checked_rate(image_fps)
    if name == "-":
        if size is None:
            raise SourceError("raw frames on standard input need --size WIDTHxHEIGHT")
        return PipeSource(size, image_fps, report)
    if name.startswith(CAMERAS):
        return _open_camera(name, report)
    if "://" in name:
        return _open_url(name, report)
    path = Path(source)
    if not path.exists():
        matches = [Path(match) for match in glob.glob(name)]
        if not matches:
            raise SourceError(f"{redacted(name)} does not exist")
        return open_images(name, matches, image_fps)
    if path.is_dir():
        return open_images(name, list(path.iterdir()), image_fps)
    if path.suffix.lower() in IMAGES:
        return FrameSource(name, Animation(path), report=report)
    return open_video(path, report)


def _open_camera(name: str, report: Say) -> Source:
    kind, _, number = name.partition(":")
    if kind.startswith("/"):
        return LiveSource(name, v4l2(name), report)
    if not number.isdecimal():
        raise SourceError(f"'{name}': which one? {kind}:0 is the first")
    pi = kind == "picamera"
    opener = picamera(int(number)) if pi else v4l2(f"/dev/video{int(number)}")
    return LiveSource(name, opener, report)


def _open_url(url: str, report: Say) -> Source:
    """A file behind an address has a length; what has none is live."""
    name = redacted(url)
    if url.startswith(LIVE_SCHEMES):
        return LiveSource(name, network(url), report)
    container = open_network(url)
    length = container.duration
    container.close()
    if length is None or length <= 0:
        return LiveSource(name, network(url), report)
    import av

    return FrameSource(name, Video(url, name), length / av.time_base, report)
