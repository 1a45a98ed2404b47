"""Cameras on this machine."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from movinet_runtime.errors import MissingPackageError, SourceError
from movinet_runtime.sources.live import Grab, Opener
from movinet_runtime.sources.network import grabs, opened

PICAMERA_SIZE = (640, 480)


def open_v4l2(device: str) -> Any:
    """Return the opened container of a USB camera, or what else the kernel shows as /dev/videoN."""
    advice = "ls /dev/video* shows the cameras; a Pi camera module is picamera:0"
    return opened(device, advice, format="v4l2")


def v4l2(device: str) -> Opener:
    """Open a USB camera."""
    return lambda: grabs(open_v4l2(device))


def picamera(number: int) -> Opener:
    """Open a Pi camera module through Picamera2."""

    def opener() -> Iterator[Grab]:
        try:
            from picamera2 import Picamera2
        except ImportError as error:
            raise MissingPackageError(
                "picamera:N needs Picamera2: sudo apt install python3-picamera2, and a virtual "
                "environment made with --system-site-packages"
            ) from error
        camera = None
        try:
            camera = Picamera2(number)
            # Its BGR888 is RGB in the array's order.
            main = {"format": "BGR888", "size": PICAMERA_SIZE}
            camera.configure(camera.create_video_configuration(main=main))
            camera.start()
        except (IndexError, RuntimeError) as error:
            if camera is not None:
                _free(camera)
            raise SourceError(f"cannot open picamera:{number}: {error}") from error
        return _picamera_grabs(camera)

    return opener


def _picamera_grabs(camera: Any) -> Iterator[Grab]:
    """Capture until the camera fails, which is a loss like any other."""
    try:
        while True:
            image = camera.capture_array()
            yield lambda image=image: image  # type: ignore[misc]
    except RuntimeError as error:
        raise SourceError(str(error)) from error
    finally:
        _free(camera)


def _free(camera: Any) -> None:
    """Let go of it; a camera that failed may refuse to stop."""
    for free in (camera.stop, camera.close):
        with suppress(RuntimeError):
            free()
