"""Live sources against real servers on loopback: newest frame wins, what is lost comes back."""

import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from movinet_runtime import open_frames
from movinet_runtime.addresses import redacted
from movinet_runtime.cli.main import main
from movinet_runtime.errors import MissingPackageError, SourceError
from movinet_runtime.sources import live
from movinet_runtime.sources.live import LiveRun, LiveSource
from tests.rtsp import rtsp_server

RATE = 25.0


class Camera(BaseHTTPRequestHandler):
    """An MJPEG camera: its pictures are numbered by their brightness."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        server = self.server
        assert isinstance(server, Switched)
        while server.on:
            server.sent += 1
            value = min(255, server.sent)
            data = io.BytesIO()
            Image.new("RGB", (64, 48), (value, value, value)).save(data, "JPEG")
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {data.tell()}\r\n\r\n"
            try:
                self.wfile.write(head.encode() + data.getvalue() + b"\r\n")
            except OSError:
                return
            time.sleep(1 / RATE)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Switched(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    on = True
    sent = 0


@contextmanager
def camera(port: int = 0) -> Iterator[Switched]:
    server = Switched(("127.0.0.1", port), Camera)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.on = False
        server.shutdown()
        server.server_close()


def address(server: Switched) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/"


def test_the_newest_frame_wins() -> None:
    """A consumer that is slow gets pictures of now, not of a queue."""
    with camera() as server:
        run = open_frames(address(server)).sampled(10)
        frames = [next(run)]
        for _ in range(5):
            before = server.sent
            while server.sent < before + 20:  # the consumer is busy
                time.sleep(0.01)
            frames.append(next(run))
            assert frames[-1].image.mean() >= before  # a queue would go on where it was
    assert run.dropped > 3
    assert all(later.time > earlier.time for earlier, later in pairwise(frames))


def test_a_lost_stream_is_opened_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FIRST_WAIT", 0.1)
    lines: list[str] = []
    with camera() as server:
        port = int(server.server_address[1])
        source = open_frames(address(server), report=lines.append)
        frames = source.sampled(10)
        assert not next(frames).reopened
    with camera(port):
        for frame in frames:
            if frame.reopened:
                break
        frames.close()
    assert frames.reopened == 1
    assert [("lost" in line, "is back" in line) for line in lines] == [(True, False), (False, True)]


def test_an_rtsp_camera_is_followed_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FIRST_WAIT", 0.1)
    with rtsp_server() as server:
        source = open_frames(server.url)
        frames = source.sampled(10)
        seen = [next(frames) for _ in range(15)]
        assert seen[0].image.shape == (48, 64, 3)
        assert seen[-1].image.mean() > seen[0].image.mean()  # brighter with time
        assert all(later.time > earlier.time for earlier, later in pairwise(seen))
    with rtsp_server(server.port):
        assert any(frame.reopened for frame in islice(frames, 50))
    frames.close()
    assert frames.reopened == 1


def test_a_stream_that_stays_lost_ends_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FIRST_WAIT", 0.1)
    with camera() as server:
        source = open_frames(address(server))
        assert isinstance(source, LiveSource)
        source.give_up = 1.0
        frames = source.sampled(10)
        next(frames)
    with pytest.raises(SourceError, match="gave no frame for 1 s"):
        list(frames)


def test_what_cannot_be_opened_says_what_to_do() -> None:
    with pytest.raises(SourceError, match="is the server running"):
        open_frames("http://127.0.0.1:9/")
    with pytest.raises(SourceError, match="is the server running"):
        next(open_frames("rtsp://127.0.0.1:9/").sampled(5))
    with pytest.raises(SourceError, match=r"ls /dev/video\* shows the cameras"):
        next(open_frames("camera:97").sampled(5))
    with pytest.raises(SourceError, match="camera:0 is the first"):
        open_frames("camera:front")
    with pytest.raises(MissingPackageError, match="python3-picamera2"):
        next(open_frames("picamera:0").sampled(5))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://user:secret@door.local:554/1", "rtsp://***@door.local:554/1"),
        ("rtsp://user:se/cret@door.local/1", "rtsp://***@door.local/1"),
        ("rtsp://user:se@cret@door.local/1", "rtsp://***@door.local/1"),
        ("rtsp:/user:secret@door.local/1", "rtsp:/***@door.local/1"),
        ("rtsp://secret@door.local/1", "rtsp://***@door.local/1"),
        ("http://door.local/v?user=me&pwd=secret&n=1", "http://door.local/v?user=me&pwd=***&n=1"),
        ("http://door.local/v?access_token=secret", "http://door.local/v?access_token=***"),
        ("rtsp://user:12/34@door.local/1", "rtsp://***@door.local/1"),
        ("rtsp://door.local/a@b", "rtsp://door.local/a@b"),
        ("rtsp://[::1]:554/a@b", "rtsp://[::1]:554/a@b"),
        ("clips/a@b.mp4", "clips/a@b.mp4"),
    ],
)
def test_passwords_are_left_out_of_addresses(address: str, shown: str) -> None:
    assert redacted(address) == shown


@pytest.mark.parametrize("scheme", ["rtsp", "http", "rtmp", "rtsp:/"])
def test_no_password_in_any_output(stream_model: Path, scheme: str) -> None:
    """Not in the message, nor in a traceback."""
    address = f"{scheme}://user:secret@127.0.0.1:9/a".replace("rtsp:/://", "rtsp:/")
    for more in ([], ["--debug"]):
        words = ["run", address, "-m", str(stream_model), *more]
        command = [sys.executable, "-m", "movinet_runtime.cli.main", *words]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == (1 if more else 2)
        assert "***@127.0.0.1" in done.stderr
        assert "secret" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("option", "scheme"),
    [("--model", "https"), ("--labels", "https"), ("--output", "https"), ("--on", "dask")],
)
def test_no_password_of_a_misplaced_address(
    option: str,
    scheme: str,
    write_video: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also where no address belongs."""
    address = f"{scheme}://user:secret@cloud.local/a?token=secret"
    words = ["movinet", "label", str(write_video(4)), "-o", str(tmp_path / "a.jsonl")]
    monkeypatch.setattr(sys, "argv", [*words, option, address])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "***@cloud.local" in said
    assert "secret" not in said


def test_no_password_in_lines_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FIRST_WAIT", 0.1)
    lines: list[str] = []
    with camera() as server:
        source = open_frames(
            address(server).replace("http://", "http://user:secret@"), report=lines.append
        )
        run = source.sampled(10)
        next(run)
    assert isinstance(run, LiveRun)
    run._give_up = 0.5
    with pytest.raises(SourceError) as caught:
        list(run)
    said = [*lines, source.name, str(caught.value), *(t.name for t in threading.enumerate())]
    assert lines
    assert not any("secret" in text for text in said)


def test_a_video_behind_an_address_is_played_as_a_file(
    write_video: Callable[..., Path], tmp_path: Path
) -> None:
    path = write_video(frames=20, fps=10)

    class Files(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            self.wfile.write(path.read_bytes())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source = open_frames(f"http://127.0.0.1:{server.server_address[1]}/clip.mp4")
    assert not source.live
    assert len(list(source.sampled(5))) == len(list(open_frames(path).sampled(5))) == 10
    server.shutdown()


def test_raw_frames_on_standard_input(stream_model: Path) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3), np.uint8).tobytes()
    command = [
        sys.executable,
        "-m",
        "movinet_runtime.cli.main",
        "run",
        "-",
        "-m",
        str(stream_model),
    ]
    done = subprocess.run([*command, "--size", "64x48"], input=raw, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"4 frames" in done.stdout
    for options, message in (
        (["--size", "64x50"], b"breaks off within frame 3"),
        (["--size", "64"], b"--size is WIDTHxHEIGHT"),
        ([], b"need --size"),
    ):
        done = subprocess.run([*command, *options], input=raw, capture_output=True)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_pattern_of_images(tmp_path: Path) -> None:
    for i in (1, 2, 10):
        Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / f"frame{i}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    frames = list(open_frames(str(tmp_path / "frame*")).sampled(5))
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [1, 2, 10]
