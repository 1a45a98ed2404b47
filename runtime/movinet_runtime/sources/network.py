"""Network streams, and what else FFmpeg opens."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

from movinet_runtime.errors import MissingPackageError, SourceError
from movinet_runtime.sources.decode import upright
from movinet_runtime.sources.live import Grab, Opener

OPEN_TIMEOUT, READ_TIMEOUT = 10.0, 5.0  # seconds


def grabs(container: Any) -> Iterator[Grab]:
    """Decode a container's video for as long as it lasts."""
    import av

    try:
        with closing(container):
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for picture in container.decode(stream):
                yield lambda picture=picture: upright(picture)  # type: ignore[misc]
    except av.FFmpegError as error:
        raise SourceError(str(error)) from error


def opened(what: str, advice: str, **options: Any) -> Any:
    """Return an opened container that has a video stream."""
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(
            f"{what} needs PyAV to be read: pip install 'movinet-runtime[video]'"
        ) from error
    try:
        container = av.open(what, timeout=(OPEN_TIMEOUT, READ_TIMEOUT), **options)
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(f"cannot open {what}: {reason}; {advice}") from error
    if not container.streams.video:
        container.close()
        raise SourceError(f"{what} has no video stream")
    return container


def open_network(url: str) -> Any:
    """Return the opened container of an RTSP or HTTP address."""
    options = {"rtsp_transport": "tcp"} if url.startswith("rtsp") else {}
    return opened(url, "is the server running, and the address right?", options=options)


def network(url: str) -> Opener:
    """Open an RTSP or HTTP stream."""
    return lambda: grabs(open_network(url))
