"""The page of movinet watch: a real server on loopback, in front of cameras that are acted."""

import http.client
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from movinet_models import embedded
from movinet_models.figures import ACTIONS, IDLE
from movinet_models.figures.scene import Scene
from movinet_runtime.classifier import Prediction
from movinet_runtime.errors import ConfigError, OutputError
from movinet_runtime.outputs.video import save_frames
from movinet_runtime.watch.config import WebConfig, read_config
from movinet_runtime.watch.events import WatchEvent
from movinet_runtime.watch.output import CameraStatus, Clip, Seen
from movinet_runtime.watch.service import Service
from movinet_runtime.watch.web import server as web
from movinet_runtime.watch.web.output import WebOutput
from movinet_runtime.watch.web.ranges import part
from movinet_runtime.watch.web.session import (
    PER_ADDRESS,
    PER_ALL,
    WINDOW,
    Limit,
    Sessions,
    hash_password,
    is_hash,
    is_password,
)
from tests.browser import CHROMIUM, Browser, browser
from tests.small import LABELS, small_model
from tests.watching import coloured, film, until

PASSWORD = "correct horse"
MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main", "watch"]
# Where the browser test puts its picture; docs/watch.png is one.
SHOT = Path(os.environ["MOVINET_SHOT"]) if "MOVINET_SHOT" in os.environ else None
Answer = tuple[int, http.client.HTTPMessage, bytes]


BEGAN: dict[str, datetime] = {}  # of an event's id


def now() -> datetime:
    return datetime.now().astimezone()


class Actor:
    """A camera that shows what it is told, and remembers how it was switched."""

    labels = LABELS
    lost_after = 10.0

    def __init__(self, name: str) -> None:
        self.name, self.state, self.reason = name, "watching", None
        self.seen: datetime | None = now()
        self.switched: list[bool] = []

    def status(self) -> CameraStatus:
        since = now() - timedelta(minutes=1)
        figures = {"frames": 12, "steps": 10, "dropped": 1, "fps": 5.0, "latency": 12.3}
        return CameraStatus(self.name, self.state, since, self.reason, self.seen, **figures)  # type: ignore[arg-type]

    def switch(self, on: bool) -> None:
        self.switched.append(on)
        self.state = "watching" if on else "off"


def seen(camera: str, index: int, probability: float = 0.8, color: int = 0) -> Seen:
    values = np.full(3, (1 - probability) / 2)
    values[0] = probability
    prediction = Prediction(index, np.log(values).astype(np.float32), LABELS, index / 5)
    return Seen(camera, coloured(color, 240, 320), prediction, now(), frozenset())


def event(kind: Any = "start", id: str = "e1", camera: str = "door", **more: Any) -> WatchEvent:
    began = BEGAN.setdefault(id, now() - timedelta(seconds=5))
    ended = now() if kind == "end" else None
    values = {"probability": 0.7, "peak": 0.83, "mean": 0.75, "clip": None} | more
    return WatchEvent(id, kind, camera, "action 0", now(), began, ended, 5.0, **values)


def raw(port: int, data: bytes, seconds: float = 5.0) -> bytes:
    """Send bytes and return all that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), seconds) as one:
        found = b""
        try:
            one.sendall(data)
            one.shutdown(socket.SHUT_WR)
            while more := one.recv(65536):
                found += more
        except OSError:
            pass  # it did not read all of it
        return found


class Page:
    """A served page, with two cameras."""

    def __init__(self, folder: Path, password: str = "") -> None:
        self.clips = folder / "clips"
        (self.clips / "door").mkdir(parents=True, exist_ok=True)
        self.said: list[str] = []
        hashed = hash_password(password) if password else ""
        self.output = WebOutput(WebConfig("127.0.0.1", 0, hashed, self.clips), self.said.append)
        self.port = self.output.server.port
        self.cameras = {name: Actor(name) for name in ("door", "yard")}
        self.output.cameras(self.cameras)

    def ask(
        self, path: str, method: str = "GET", body: str | None = None, **headers: str
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        status, _, body = self.ask(path)
        assert status == 200
        return json.loads(body)

    def raw(self, data: bytes) -> bytes:
        return raw(self.port, data)

    def open(self, path: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path)
        return connection.getresponse()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    one = Page(tmp_path)
    yield one
    one.output.close()
    assert one.said == []


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Page]:
    one = Page(tmp_path, PASSWORD)
    yield one
    one.output.close()
    assert one.said == []


# What is shown.


def test_the_page_and_its_parts(page: Page) -> None:
    for path, kind in (("/", "text/html"), ("/style.css", "text/css"), ("/page.js", "text/java")):
        status, headers, body = page.ask(path)
        assert status == 200
        assert headers["Content-Type"].startswith(kind)
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert len(body) > 500
    assert page.ask("/", "HEAD")[2] == b""
    assert page.ask("/none")[0] == 404
    assert page.ask("/", "DELETE")[0] == 501


def test_cameras_as_json(page: Page) -> None:
    page.output.frame(seen("door", 0, 0.9))
    found = page.json("/api/cameras")
    door, yard = found["cameras"]
    assert (door["camera"], door["state"], door["fps"], door["dropped"]) == (
        "door",
        "watching",
        5,
        1,
    )
    assert door["prediction"]["top"][0] == ["action 0", 0.9]
    assert yard["prediction"] is None
    assert [one["top"][0][1] for one in found["curves"]["door"]] == [0.9]
    page.output.cameras({"yard": page.cameras["yard"]})
    assert [one["camera"] for one in page.json("/api/cameras")["cameras"]] == ["yard"]
    assert page.ask("/picture/door")[0] == 404


def test_events_are_one_row_each_newest_first(page: Page) -> None:
    page.output.event(event("start", "a"))
    page.output.event(event("start", "b", clip="door/20261128-121923-b.mp4"))
    page.output.event(event("end", "a"))
    found = page.json("/api/events")["events"]
    assert [(one["id"], one["kind"]) for one in found] == [("b", "start"), ("a", "end")]
    assert not found[0]["clip_ready"]
    name = "door/20261128-121923-b.mp4"
    page.output.clip(Clip(name, page.clips / name, "door", now(), 3.0, ("b",)))
    page.output.event(event("end", "b", clip=name))
    assert page.json("/api/events")["events"][0]["clip_ready"]


def test_only_recent_events_are_remembered(page: Page) -> None:
    for number in range(300):
        page.output.event(event("start", str(number)))
    found = page.json("/api/events")["events"]
    assert [one["id"] for one in found] == [str(number) for number in range(299, 99, -1)]


def test_what_happened_before_is_read_from_the_clips(tmp_path: Path) -> None:
    folder = tmp_path / "clips" / "door"
    folder.mkdir(parents=True)
    old = event("end", "old", clip="door/20261128-121923-old.mp4").as_json()
    (folder / "20261128-121923-old.json").write_text(json.dumps({"events": [old]}))
    long = event("update", "long", clip="door/20261128-121922-long.mp4").as_json()
    (folder / "20261128-121922-long.json").write_text(json.dumps({"events": [long]}))
    (folder / "20261128-121924-half.json").write_text('{"events": [')
    (folder / "20261128-121925-odd.json").write_text("[3]")
    page = Page(tmp_path)
    found = page.json("/api/events")["events"]
    page.output.close()
    assert {(one["id"], one["clip_ready"]) for one in found} == {("old", True), ("long", True)}
    # Its clip was complete before it ended; nobody is left who could end it.
    assert {one["kind"] for one in found} == {"end"}


def test_switching(page: Page) -> None:
    status, _, body = page.ask("/api/cameras/door/off", "POST")
    assert (status, json.loads(body)) == (202, {"camera": "door", "switched": "off"})
    own = f"http://127.0.0.1:{page.port}"
    assert page.ask("/api/cameras/door/on", "POST", Origin=own)[0] == 202
    assert page.cameras["door"].switched == [False, True]
    assert page.ask("/api/cameras/none/on", "POST")[0] == 404
    assert page.ask("/api/cameras/door/on")[0] == 404


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec_Fetch_Site": "cross-site"},
     {"Host": "evil.example"}, {"Origin": "http://[", "Host": "x"}],
)  # fmt: skip
def test_other_pages_switch_nothing(page: Page, headers: dict[str, str]) -> None:
    assert page.ask("/api/cameras/door/off", "POST", **headers)[0] == 403
    assert page.cameras["door"].switched == []


def test_a_name_that_points_here_reads_nothing_without_a_password(page: Page) -> None:
    assert page.ask("/api/events", Host="evil.example")[0] == 403
    assert page.ask("/api/events", Host=f"localhost:{page.port}")[0] == 200


def test_health_tells_a_camera_that_is_gone_for_too_long(page: Page) -> None:
    yard = page.cameras["yard"]
    assert page.ask("/healthz")[::2] == (200, b"ok\n")
    yard.state = "lost"
    assert page.ask("/healthz")[0] == 200  # its last picture was just now
    yard.seen = now() - timedelta(seconds=11)
    assert page.ask("/healthz")[::2] == (503, b"1 cameras are gone\n")
    yard.seen = None  # it never came, since a minute
    assert page.ask("/healthz")[0] == 503
    yard.state = "off"
    assert page.ask("/healthz")[0] == 200


def test_metrics(page: Page) -> None:
    page.output.event(event())
    page.cameras["yard"].state, page.cameras["yard"].seen = "lost", None
    status, headers, body = page.ask("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = body.decode().splitlines()
    for line in lines:  # the text format's grammar, for what is used of it
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"\n]*",?)+\})? [-+.\de]+', line)
    assert 'movinet_camera_up{camera="door"} 1' in lines
    assert 'movinet_camera_gone{camera="yard"} 1' in lines
    assert 'movinet_camera_latency_seconds{camera="door"} 0.0123' in lines
    assert 'movinet_events_total{camera="door",label="action 0"} 1' in lines


# Streams.


def pictures(answer: http.client.HTTPResponse) -> Iterator[Image.Image]:
    while True:
        line = answer.readline()
        if not line:
            return
        if line.lower().startswith(b"content-length"):
            length = int(line.split(b":")[1])
            answer.readline()
            yield Image.open(io.BytesIO(answer.read(length)))


def test_mjpeg_shows_the_newest_frame(page: Page) -> None:
    page.output.frame(seen("door", 0, color=0))
    with page.open("/stream/door") as answer:
        assert answer.headers["Content-Type"].startswith("multipart/x-mixed-replace; boundary=")
        found = pictures(answer)
        first = next(found)
        assert first.size == (320, 240)
        assert np.asarray(first)[0, 0].argmax() == 0
        for index in range(1, 50):
            page.output.frame(seen("door", index, color=1 if index < 49 else 2))
        assert any(np.asarray(next(found))[0, 0].argmax() == 2 for _ in range(3))
    assert page.ask("/picture/door")[1]["Content-Type"] == "image/jpeg"
    assert page.ask("/picture/yard")[0] == 404  # nothing was seen yet
    assert page.ask("/stream/none")[0] == 404


def test_a_client_that_does_not_read_holds_up_nobody(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "SEND", 4.0)
    monkeypatch.setattr(web, "BATCH", 0.001)
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    slow = socket.create_connection(("127.0.0.1", page.port))
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.sendall(b"GET /stream/door HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def clients() -> list[threading.Thread]:
        return [one for one in threading.enumerate() if one.name == "web client"]

    view = page.output.view("door")
    assert view
    for number in range(1, 151):
        page.output.frame(Seen("door", noise, None, now()))
        assert view.number > number  # taken at once, whatever the client does
        time.sleep(0.01)
    assert clients()  # it waits for its client,
    assert view._encoded[0] < view.number  # with a picture that is long an old one,
    until(lambda: not clients())  # and gives it up
    assert page.ask("/healthz")[0] == 200
    slow.close()


def test_nothing_is_encoded_for_nobody(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    count: list[int] = []

    def encode(_: object) -> bytes:
        count.append(1)
        return b"\xff\xd8"

    monkeypatch.setattr("movinet_runtime.watch.web.state.jpeg", encode)
    for index in range(10):
        page.output.frame(seen("door", index))
    assert count == []
    for _ in range(3):
        assert page.ask("/picture/door")[2] == b"\xff\xd8"
    assert count == [1]


def test_news_come_by_server_sent_events(page: Page) -> None:
    with page.open("/events") as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        told = threading.Event()

        def act() -> None:
            while not told.wait(0.1):
                page.output.frame(seen("door", 3, 0.6))
                page.output.event(event("start", "x"))

        actor = threading.Thread(target=act)
        actor.start()
        kinds: dict[str, Any] = {}
        while kinds.keys() != {"cameras", "prediction", "event"}:
            line = answer.readline().decode()
            if line.startswith("event: "):
                kinds[line[7:-1]] = json.loads(answer.readline().decode().removeprefix("data: "))
        told.set()
        actor.join()
    assert kinds["prediction"]["top"][0] == ["action 0", 0.6]
    assert (kinds["event"]["id"], kinds["event"]["kind"]) == ("x", "start")
    assert {one["camera"] for one in kinds["cameras"]["cameras"]} == {"door", "yard"}


def test_a_stream_without_a_picture_ends(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or those who went would hold all connections."""
    monkeypatch.setattr(web, "PING", 0.1)
    with page.open("/stream/door") as stream:
        assert stream.read() == b""


def test_streams_end_with_the_service(tmp_path: Path) -> None:
    page = Page(tmp_path)
    page.output.frame(seen("door", 0))
    with page.open("/events") as news, page.open("/stream/door") as stream:
        begun = time.monotonic()
        page.output.close()
        news.read()
        stream.read()
        assert time.monotonic() - begun < 5


# Clips.

CLIP = "door/20261128-121923-b.mp4"


def test_a_clip_and_its_parts(page: Page) -> None:
    data = bytes(range(256)) * 1000
    (page.clips / CLIP).write_bytes(data)
    status, headers, body = page.ask(f"/clips/{CLIP}")
    assert (status, body, headers["Accept-Ranges"]) == (200, data, "bytes")
    assert headers["Content-Type"] == "video/mp4"
    status, headers, body = page.ask(f"/clips/{CLIP}", Range="bytes=1000-1999")
    assert (status, body) == (206, data[1000:2000])
    assert headers["Content-Range"] == f"bytes 1000-1999/{len(data)}"
    assert page.ask(f"/clips/{CLIP}", Range="bytes=-10")[::2] == (206, data[-10:])
    status, headers, _ = page.ask(f"/clips/{CLIP}", Range=f"bytes={len(data)}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(data)}")
    assert page.ask(f"/clips/{CLIP}", "HEAD")[1]["Content-Length"] == str(len(data))


@given(st.text() | st.from_regex(r"bytes=\d*-\d*", fullmatch=True), st.integers(0, 1000))
def test_a_part_is_within_the_file(header: str, size: int) -> None:
    found = part(header, size)
    if found is not None:
        begin, end = found
        assert begin >= 0
        assert end <= size


def test_nothing_outside_the_folder(page: Page) -> None:
    secret = page.clips.parent / "secret.mp4"
    secret.write_bytes(b"secret")
    (page.clips / "door" / "linked.mp4").symlink_to(secret)
    (page.clips / "door" / ".half.mp4").write_bytes(b"secret")
    (page.clips / "door" / "folder.mp4").mkdir()
    for name in (
        "../secret.mp4", "door/../../secret.mp4", "door/%2e%2e/%2e%2e/secret.mp4",
        "%2e%2e%2fsecret.mp4", "door/..%5c..%5csecret.mp4", "/secret.mp4", "door/linked.mp4",
        "door/.half.mp4", "door/folder.mp4", "door/%00.mp4", "door/a.mp4%0a", "door", "",
        str(secret), f"door/{'a' * 300}.mp4",
    ):  # fmt: skip
        answer = page.raw(f"GET /clips/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 404"), name
        assert b"secret" not in answer.split(b"\r\n\r\n")[1]


# Bad requests.


def bad_requests(seed: int = 7) -> Iterator[bytes]:
    """200 of them; what is random is drawn from a seed."""
    end = b"Host: localhost\r\n\r\n"
    rng = np.random.default_rng(seed)
    for number in range(40):
        up = ["../", "%2e%2e/", "..%2f", "....//", "%252e%252e/"][number % 5] * (1 + number // 5)
        yield f"GET /clips/{up}etc/passwd HTTP/1.1\r\n".encode() + end
    for number in range(30):
        yield b"GET / HTTP/1.1\r\nX: " + b"a" * (20_000 + 5000 * number) + b"\r\n" + end
    for number in range(20):
        yield b"GET / HTTP/1.1\r\n" + b"X-%d: b\r\n" % number * (1500 + 100 * number) + end
    for number in range(20):
        yield b"GET /" + b"a" * (17_000 + 7000 * number) + b" HTTP/1.1\r\n" + end
    for _ in range(30):
        junk = rng.integers(1, 256, 60).astype(np.uint8).tobytes().translate(None, b"\r\n")
        yield b"GET /api/cameras HTTP/1.1\r\nCookie: movinet_session=" + junk + b"\r\n" + end
    for _ in range(30):
        yield rng.integers(0, 256, 300).astype(np.uint8).tobytes() + b"\r\n\r\n"
    for length in (b"-1", b"x", b"1e3", b"99999999999999999999", b"5000", b"\xb2",
                   b"1\r\nContent-Length: 2", b"10"):  # fmt: skip
        yield b"POST /api/cameras/door/on HTTP/1.1\r\nContent-Length: " + length + b"\r\n" + end
    for line in (b"GET", b"GET /", b"GET / HTTP/9.9", b"GET / HTTP/x", b"get / HTTP/1.1",
                 b"GET http://[ HTTP/1.1", b"GET //[x HTTP/1.1", b"GET /%ff%fe HTTP/1.1", b"",
                 b"POST /login HTTP/1.1", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked",
                 b"GET / HTTP/1.1\r\nHost: [", b"GET / HTTP/1.1\r\nHost", b"\x16\x03\x01\x02",
                 b"CONNECT x:1 HTTP/1.1", b"GET / HTTP/1.1\r\nRange: bytes=9-1",
                 b"GET / HTTP/1.1\r\nAuthorization: Basic !!!", b"GET /\x00 HTTP/1.1",
                 b"POST /login HTTP/1.1\r\nContent-Length: 3\r\n\r\n%%%",
                 b"PUT / HTTP/1.1", b"PRI * HTTP/2.0", b"GET * HTTP/1.1"):  # fmt: skip
        yield line + b"\r\n" + end


@pytest.mark.parametrize("password", ["", PASSWORD])
def test_bad_requests_do_no_harm(
    tmp_path: Path, password: str, capfd: pytest.CaptureFixture[str]
) -> None:
    page = Page(tmp_path, password)
    requests = list(bad_requests())
    assert len(requests) == 200
    for request in requests:
        page.output.frame(seen("door", 0))
        answer = page.raw(request)
        assert b"root:" not in answer
        assert not answer.startswith(b"HTTP/1.1 500"), request[:80]
    assert page.ask("/healthz")[0] == 200
    assert page.cameras["door"].switched == []
    view = page.output.view("door")
    assert view
    assert view.number >= 200
    page.output.close()
    assert page.said == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 90 + b"Y: " + b"b" * 17_000 + b"\r\n\r\n", 431),
        (b"POST /login HTTP/1.1\r\nContent-Length: 4097\r\n\r\n", 413),
        (b"POST /login HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET //[x HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    ],
)
def test_limits_are_told(page: Page, request_: bytes, status: int) -> None:
    assert page.raw(request_).startswith(b"HTTP/1.1 %d" % status)


def test_slow_bodies_end(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then buys no more time."""
    monkeypatch.setattr(web, "RECEIVE", 0.6)
    for head in (b"POST /login HTTP/1.1\r\nContent-Length: 100\r\n\r\n", b"GET / HTTP/1.1\r\nX: "):
        with socket.create_connection(("127.0.0.1", page.port), 5) as one:
            one.sendall(head)
            begun = time.monotonic()
            with pytest.raises(ConnectionError):  # noqa: PT012
                while time.monotonic() - begun < 5:
                    one.sendall(b"a")
                    time.sleep(0.1)
            assert time.monotonic() - begun < 3


def test_connections_have_a_number(page: Page) -> None:
    held = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(web.CONNECTIONS)]

    def full() -> bool:
        return page.raw(b"").startswith(b"HTTP/1.1 503")

    until(full)
    for one in held:
        one.close()
    until(lambda: not [one for one in threading.enumerate() if one.name == "web client"])
    assert page.ask("/healthz")[0] == 200


def test_a_connection_takes_several_requests(page: Page) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=5)
    for path in ("/", "/none", "/api/cameras", "/page.js"):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.read()
        assert not answer.will_close
    connection.close()


def test_our_own_mistake_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(tmp_path)
    monkeypatch.setattr(page.output, "events", lambda: 1 / 0)
    for _ in range(2):
        assert page.ask("/api/events")[0] == 500
    page.output.close()
    assert page.said == ["web: ZeroDivisionError: division by zero"]


# Passwords.


def log_in(page: Page, password: str = PASSWORD, **headers: str) -> Answer:
    return page.ask("/login", "POST", urlencode({"password": password}), **headers)


def test_a_password_opens_a_session(locked: Page) -> None:
    assert (locked.ask("/")[0], locked.ask("/")[1]["Location"]) == (303, "/login")
    for path in ("/api/cameras", "/api/events", "/events", "/stream/door", "/metrics", "/page.js"):
        assert locked.ask(path)[0] == 401, path
    assert locked.ask("/api/cameras/door/off", "POST")[0] == 401
    assert locked.ask("/login")[0] == 200
    assert locked.ask("/healthz")[0] == 200
    status, headers, _ = log_in(locked)
    assert (status, headers["Location"]) == (303, "/")
    cookie, *attributes = headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(attributes)
    assert locked.ask("/api/cameras", Cookie=cookie)[0] == 200
    assert locked.ask("/api/cameras", Cookie=cookie[:-1])[0] == 401
    assert locked.ask("/logout", "POST", Cookie=cookie, Origin="http://evil.example")[0] == 403
    assert locked.ask("/logout", "POST", Cookie=cookie)[0] == 303
    assert locked.ask("/api/cameras", Cookie=cookie)[0] == 401


def test_the_cookies_of_others_are_no_matter(locked: Page) -> None:
    cookie = log_in(locked)[1]["Set-Cookie"].split(";")[0]
    for others in (f"a@b=1; {cookie}", f'{cookie}; odd={{"a": "b c"}}', f"x; =; {cookie}; y"):
        assert locked.ask("/api/cameras", Cookie=others)[0] == 200, others
    assert locked.ask("/api/cameras", Cookie=f"x{cookie}")[0] == 401


def test_a_session_ends_with_its_page(tmp_path: Path) -> None:
    """A connection that was kept open outlives the page, and the password that it was for."""
    page = Page(tmp_path, PASSWORD)
    cookie = log_in(page)[1]["Set-Cookie"].split(";")[0]
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    connection.request("GET", "/api/cameras", headers={"Cookie": cookie})
    assert json.loads(connection.getresponse().read())["cameras"]
    page.output.close()
    connection.request("POST", "/api/cameras/door/off", headers={"Cookie": cookie})
    answer = connection.getresponse()
    assert answer.status == 503
    assert answer.will_close
    assert page.cameras["door"].switched == []


def test_programs_say_the_password_with_each_request(locked: Page) -> None:
    import base64

    word = base64.b64encode(f"anybody:{PASSWORD}".encode()).decode()
    assert locked.ask("/metrics", Authorization=f"Basic {word}")[0] == 200
    wrong = base64.b64encode(b"anybody:wrong").decode()
    assert locked.ask("/metrics", Authorization=f"Basic {wrong}")[0] == 401


def test_guessing_is_slow(locked: Page) -> None:
    assert log_in(locked)[0] == 303  # that the right one is known opens no way around
    for _ in range(PER_ADDRESS):
        assert log_in(locked, "wrong")[0] == 401
    status, headers, _ = log_in(locked)
    assert status == 429
    assert 0 < int(headers["Retry-After"]) <= WINDOW + 1


def test_limits_of_guessing() -> None:
    at = [0.0]
    limit = Limit(lambda: at[0])
    for number in range(PER_ADDRESS):
        at[0] = number
        assert limit.wait("a") == 0
        limit.failed("a")
    assert limit.wait("a") == WINDOW - (PER_ADDRESS - 1)
    assert limit.wait("b") == 0
    for number in range(PER_ALL):
        limit.failed(str(number))
    assert limit.wait("fresh") > 0
    at[0] += WINDOW
    assert limit.wait("a") == limit.wait("fresh") == 0


def test_sessions_end() -> None:
    at = [0.0]
    sessions = Sessions("x", lambda: at[0])
    first = sessions.begin()
    assert sessions.holds(first)
    assert not sessions.holds("")
    at[0] = 31 * 86400
    assert not sessions.holds(first)
    many = [sessions.begin() for _ in range(101)]
    assert not sessions.holds(many[0])
    assert sessions.holds(many[1])


def test_hashes() -> None:
    one, other = hash_password(PASSWORD), hash_password(PASSWORD)
    assert one != other
    for hashed in (one, other):
        assert is_hash(hashed)
        assert is_password(PASSWORD, hashed)
        assert not is_password(PASSWORD + " ", hashed)
        assert not is_password("", hashed)
    for wrong in (
        "",
        PASSWORD,
        one[:-30],
        one.replace("ln=14", "ln=30"),
        one.replace("p=5", "p=0"),
    ):
        assert not is_hash(wrong), wrong


def test_a_hash_comes_from_the_command_line() -> None:
    done = subprocess.run(
        [*MOVINET, "--hash-password"], input=f"{PASSWORD}\n", capture_output=True, text=True
    )
    assert done.returncode == 0
    assert is_password(PASSWORD, done.stdout.strip())
    short = subprocess.run(
        [*MOVINET, "--hash-password"], input="x\n", capture_output=True, text=True
    )
    assert (short.returncode, short.stdout) == (2, "")
    assert "8 characters at least" in short.stderr


# The configuration.


def configured(folder: Path, text: str) -> Path:
    model = small_model(folder / "m.tflite")
    film(folder / "clip.mp4", [(-1, 0.5), (0, 1.0)])
    path = folder / "config.toml"
    camera = f'[cameras.door]\nsource = "clip.mp4"\nmodel = "{model}"\nrate = 10\non = 0.6\n'
    camera += "patience = 1\nmin_duration = 0\n"
    path.write_text(camera + text)
    return path


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('[web]\nhost = "0.0.0.0"\n', 9, "web.host: 0.0.0.0 is reached by others: give a password"),
        ('[web]\nhost = "::"\n', 9, "is reached by others"),
        ('[web]\nhost = "board.local"\n', 9, "is reached by others"),
        ('[web]\npassword_hash = "secret"\n', 9, "web.password_hash: is none that"),
        ("[web]\nport = 0\n", 9, "web.port: is 0"),
        ("[web]\nprot = 80\n", 9, "did you mean 'port'?"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = configured(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_config(path, Path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: ")
    assert said in message
    assert "\n" not in message
    assert "secret" not in message


def test_what_is_admitted(tmp_path: Path) -> None:
    for text in ("", 'host = "::1"', 'host = "localhost"'):
        read_config(configured(tmp_path, f"[web]\n{text}\n"), Path)
    hashed = hash_password(PASSWORD)
    text = f'[clips]\nfolder = "clips"\n[web]\nhost = "0.0.0.0"\npassword_hash = "{hashed}"\n'
    found = read_config(configured(tmp_path, text), Path).web
    assert found == WebConfig("0.0.0.0", 8080, hashed, tmp_path / "clips")
    assert hashed not in repr(found)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    page = Page(tmp_path)
    config = read_config(configured(tmp_path, f"[web]\nport = {page.port}\n"), Path)
    with pytest.raises(OutputError, match=f"cannot listen on 127.0.0.1 port {page.port}: "):
        Service(config, page.said.append)
    page.output.close()


def test_a_service_with_a_page_whose_password_changes(tmp_path: Path) -> None:
    """A real camera, through the hub; the page keeps its port."""
    port = free_port()
    text = f'[clips]\nfolder = "clips"\nbefore = 0\nafter = 0.2\n[web]\nport = {port}\n'
    path = configured(tmp_path, text)
    said: list[str] = []
    service = Service(read_config(path, Path), said.append)

    def get(where: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", where)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def ready() -> list[Any]:
        events = json.loads(get("/api/events")[1])["events"]
        return [one for one in events if one["clip_ready"]]

    until(ready)
    clip = ready()[0]["clip"]
    status, body = get(f"/clips/{clip}")
    assert status == 200
    assert body[4:8] == b"ftyp"
    path.write_text(path.read_text() + f'password_hash = "{hash_password(PASSWORD)}"\n')
    camera = service.cameras["door"]
    service.reload(read_config(path, Path))
    assert service.cameras["door"] is camera
    assert get("/api/events")[0] == 401
    # An address that is not this machine's: it goes on as before.
    path.write_text(path.read_text().replace("[web]", '[web]\nhost = "192.0.2.1"'))
    with pytest.raises(OutputError, match=r"cannot listen on 192\.0\.2\.1"):
        service.reload(read_config(path, Path))
    assert get("/api/events")[0] == 401
    web_output = service._outputs["web"][1]
    assert isinstance(web_output, WebOutput)
    assert list(web_output.known) == ["door"]
    service.close()
    assert said == []


# A browser.


@pytest.fixture
def figures(tmp_path: Path) -> Iterator[tuple[Service, int]]:
    """A whole service: the embedded model watches drawn figures on two cameras, and keeps clips."""
    text = ""
    for seed, (name, label) in enumerate([("garden", "jumping jacks"), ("door", "clapping")]):
        rng = np.random.default_rng(seed)
        script = [(IDLE["standing"], 1.0), (ACTIONS[label], 5.0), (IDLE["standing"], 3.0)]
        drawn = [
            np.pad(one, ((0, 0), (40, 40), (0, 0)), mode="edge")
            for one in Scene.random(rng, 240).frames(script, 10, rng)
        ]
        save_frames(tmp_path / f"{name}.mp4", drawn, 10, key_frames=0.5)
        text += f'[cameras.{name}]\nsource = "{name}.mp4"\n'
    port = free_port()
    path = tmp_path / "config.toml"
    path.write_text(
        f'{text}[clips]\nfolder = "clips"\nbefore = 1\nafter = 0.5\n[web]\nport = {port}\n'
    )
    said: list[str] = []
    service = Service(read_config(path, lambda: embedded.MODEL), said.append)
    yield service, port
    service.close()
    assert said == []


def test_the_watching_goes_on_under_a_thousand_bad_requests(figures: tuple[Service, int]) -> None:
    """Back to back: no frame is dropped, none is late by more than it takes to classify one."""
    service, port = figures
    cameras = service.cameras.values()
    until(lambda: all(camera.status().frames > 5 for camera in cameras))
    before, began = [camera.status() for camera in cameras], time.monotonic()
    for seed in range(5):
        for request in bad_requests(seed):
            assert b"root:" not in raw(port, request)
    seconds = time.monotonic() - began
    for camera, then in zip(cameras, before, strict=True):
        now = camera.status()
        assert now.dropped == then.dropped
        assert now.frames - then.frames >= 0.9 * 5 * seconds - 1


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_real_browser_shows_it_without_an_error(
    figures: tuple[Service, int], tmp_path: Path
) -> None:
    service, port = figures
    with browser(tmp_path) as tab:
        tab.look(1200, 640)
        tab.call("Page.navigate", url=f"http://127.0.0.1:{port}/")
        tab.until("document.querySelectorAll('.camera').length === 2")
        tab.until("document.querySelector('#connection').textContent === 'connected'")
        tab.until("[...document.querySelectorAll('.camera img')].every(i => i.naturalWidth > 99)")
        # Two events that are over, whose clips are there, and one that goes on.
        tab.until("document.querySelectorAll('.play:enabled').length >= 2", 40)
        tab.until("document.querySelector('#events li.open') !== null", 20)
        shown(tab, SHOT or tmp_path / "wide.png", (640, 1200))
        page_is_usable(tab)
        assert violations(tab) == []
        assert service.cameras["door"].status().frames > 0
        tab.look(390, 844, dark=True)
        tab.until("getComputedStyle(document.body).backgroundColor === 'rgb(16, 22, 28)'")
        assert tab.evaluate("document.documentElement.scrollWidth") == 390
        assert violations(tab) == []
        shown(tab, tmp_path / "phone.png", (844, 390))
        before = tab.evaluate("document.querySelector('.line').getAttribute('points')")
        tab.until(f"document.querySelector('.line').getAttribute('points') !== '{before}'")
        assert tab.problems == []


def page_is_usable(tab: Browser) -> None:
    """By keyboard and by screen reader: everything has a name, and keys do what a click does."""
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    for node in nodes:
        role = node.get("role", {}).get("value")
        if role in ("button", "switch", "image", "link", "img", "textbox") and not node["ignored"]:
            assert node.get("name", {}).get("value"), node
    roles = [node.get("role", {}).get("value") for node in nodes]
    assert roles.count("switch") == 2
    assert {"main", "heading", "list", "status"} <= set(roles)
    tab.evaluate("document.querySelectorAll('.camera [role=switch]')[1].focus()")
    tab.key("Enter", 13)
    tab.until("document.querySelectorAll('.camera .state')[1].textContent === 'off'")
    assert tab.evaluate("document.activeElement.getAttribute('aria-checked')") == "false"
    tab.key("Enter", 13)
    tab.until("document.querySelectorAll('.camera .state')[1].textContent === 'watching'")
    tab.evaluate("document.querySelector('.play:enabled').focus()")
    tab.key("Enter", 13)
    tab.until("document.querySelector('#player').open")
    tab.until("document.querySelector('video').readyState > 1")
    tab.key("Escape", 27)
    tab.until("!document.querySelector('#player').open")
    assert tab.evaluate("document.activeElement.className") == "play"


def violations(tab: Browser) -> list[str]:
    """What axe finds: contrast, names, roles, landmarks (WCAG 2.1 and its best practices)."""
    tab.evaluate((files("axe_core_python") / "axe.min.js").read_text("utf-8"))
    found = tab.evaluate(
        "axe.run().then(found => found.violations.map("
        "one => one.id + ': ' + one.nodes.map(node => node.html).join(' ')))"
    )
    return [str(one) for one in found]


def shown(tab: Browser, path: Path, shape: tuple[int, int]) -> None:
    """Take a picture; it shows more than a page's background."""
    tab.screenshot(path)
    picture = np.asarray(Image.open(path).convert("RGB"))
    assert picture.shape[:2] == shape
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 500


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_real_browser_logs_in_and_out(locked: Page, tmp_path: Path) -> None:
    with browser(tmp_path) as tab:
        tab.call("Page.navigate", url=f"http://127.0.0.1:{locked.port}/")
        tab.until("document.activeElement?.id === 'password'")
        assert violations(tab) == []
        tab.evaluate(f"document.querySelector('#password').value = '{PASSWORD}'")
        tab.key("Enter", 13)
        tab.until("document.querySelectorAll('.camera').length === 2")
        assert tab.evaluate("document.cookie") == ""  # no script may read it
        tab.evaluate("document.querySelector('#logout button').click()")
        tab.until("document.querySelector('#password') !== null")
        assert tab.problems == []
