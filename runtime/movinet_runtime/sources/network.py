"""Network streams, and what else FFmpeg opens."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Literal

from movinet_runtime.addresses import redacted
from movinet_runtime.errors import MissingPackageError, SourceError
from movinet_runtime.install import install_hint
from movinet_runtime.sources.decode import reason, upright
from movinet_runtime.sources.live import Grab, Opener

OPEN_TIMEOUT, READ_TIMEOUT = 10.0, 5.0  # seconds

Tee = Callable[[Any], None]  # gets each packet before it is decoded


def grabs(
    container: Any, tee: Tee = lambda _: None, threads: Literal["AUTO", "SLICE"] = "AUTO"
) -> Iterator[Grab]:
    """Decode a container's video for as long as it lasts.

    Args:
        container: an opened one.
        tee: gets its packets on the side.
        threads: FFmpeg's: of several frames at once (each core holds one back), or not.

    Raises:
        SourceError: it breaks off.
    """
    import av

    try:
        with closing(container):
            stream = container.streams.video[0]
            stream.thread_type = threads
            for packet in container.demux(stream):
                tee(packet)
                for picture in packet.decode():
                    yield lambda picture=picture: upright(picture)  # type: ignore[misc]
    except av.FFmpegError as error:  # its text and traceback hold the address
        raise SourceError(reason(error)) from None


def opened(what: str, advice: str, **options: Any) -> Any:
    """Return an opened container that has a video stream.

    Raises:
        SourceError: it cannot be opened, or has none.
        MissingPackageError: PyAV is not installed.
    """
    name = redacted(what)
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(
            f"{name} needs PyAV to be read: {install_hint('movinet-runtime[video]')}"
        ) from error
    try:
        container = av.open(what, timeout=(OPEN_TIMEOUT, READ_TIMEOUT), **options)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise SourceError(f"cannot open {name}: {reason(error)}; {advice}") from None
    if not container.streams.video:
        container.close()
        raise SourceError(f"{name} has no video stream")
    return container


def open_network(url: str) -> Any:
    """Return the opened container of an RTSP or HTTP address."""
    # Nobody asks a camera for its rate, and FFmpeg would look at 20 pictures to estimate it.
    live = {"rtsp_transport": "tcp", "fpsprobesize": "0"}
    options = live if url.startswith("rtsp") else {}
    return opened(url, "is the server running, and the address right?", options=options)


def network(url: str) -> Opener:
    """Open an RTSP or HTTP stream."""
    return lambda: grabs(open_network(url))
