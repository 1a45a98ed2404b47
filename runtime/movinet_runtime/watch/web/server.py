"""HTTP for the page: a thread for each connection, and limits on everything that comes in.

Whoever asks can cost a thread until a time-out, and nothing else: heads and bodies have a
largest size and a time in which they must have come, connections have a number. Nobody holds up
a camera: what is sent is read from :mod:`movinet_runtime.watch.web.state`.
"""

import io
import json
import re
import socket
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import BoundedSemaphore, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from movinet_runtime.errors import OutputError
from movinet_runtime.sources.source import Say
from movinet_runtime.watch.web.address import is_loopback
from movinet_runtime.watch.web.basic import basic_password
from movinet_runtime.watch.web.ranges import part
from movinet_runtime.watch.web.session import COOKIE, LASTS, Sessions
from movinet_runtime.watch.web.state import PageState, metrics, temperature

CONNECTIONS = 64  # at once; one more is told to come back
HEAD, BODY = 16 * 1024, 4096  # bytes
RECEIVE, SEND = 10.0, 20.0  # seconds for a whole request, or until the next; and for a part sent
PART = 64 * 1024  # bytes of a clip that are sent at once
PING = 10.0  # seconds without news
STEADY = 2.0  # seconds between two lists of states
BATCH = 0.1  # seconds between two batches of news, and two pictures
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/login": ("login.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
OPEN = {"/login", "/style.css", "/icon.svg", "/healthz"}  # without a password
CLIP = re.compile(r"/clips/([a-z0-9][a-z0-9_-]{0,39}/[0-9A-Za-z-]{1,80}\.(mp4|jpg|json))")
CLIP_TYPES = {"mp4": "video/mp4", "jpg": "image/jpeg", "json": "application/json"}
SWITCH = re.compile(r"/api/cameras/([a-z0-9_-]{1,40})/(on|off)")
PICTURE = re.compile(r"/(stream|picture)/([a-z0-9_-]{1,40})")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
EDGE = "movinet-frame"


class Refused(Exception):  # noqa: N818
    """A request that gets a status and a line."""

    def __init__(self, status: int, line: str, **headers: str) -> None:
        super().__init__(line)
        self.status, self.line, self.headers = status, line, headers


class PageServer(ThreadingHTTPServer):
    """Serves one state.

    Args:
        host, port: where to listen; port 0: any that is free.
        state: what is shown.
        sessions: who may look.
        clips: their folder; None: there are none.
        say: told what went wrong in here, each once.

    Raises:
        OutputError: it cannot listen there.
    """

    daemon_threads = True
    block_on_close = False  # threads end with their connections, within seconds
    request_queue_size = 32

    def __init__(
        self, host: str, port: int, state: PageState, sessions: Sessions, clips: Path | None,
        say: Say,
    ) -> None:  # fmt: skip
        self.state, self.sessions, self.clips, self._say = state, sessions, clips, say
        self.local_only = is_loopback(host)
        self._free = BoundedSemaphore(CONNECTIONS)
        self._said: set[str] = set()
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError, UnicodeError) as error:
            raise OutputError(f"the page cannot listen on {host} port {port}: {error}") from error
        self.port = int(self.server_address[1])

    def server_bind(self) -> None:
        """Bind, without the look-up of a name that HTTPServer makes."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, if there is one left."""
        if not self._free.acquire(blocking=False):
            request.settimeout(0.1)
            with suppress(OSError):  # it went by itself
                request.sendall(
                    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n"
                    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
                )
            self.shutdown_request(request)
            return
        try:
            Thread(
                target=self._serve, args=(request, client_address), daemon=True, name="web client"
            ).start()
        except RuntimeError:  # the machine has no thread left
            self._free.release()
            self.shutdown_request(request)

    def _serve(self, request: Any, client_address: Any) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what is ours to mend; a client that went is nobody's fault."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError) and error is not None:
            self.tell(error)

    def tell(self, error: BaseException) -> None:
        """Say an error once."""
        line = f"web: {type(error).__name__}: {error}"
        if line not in self._said and len(self._said) < 100:
            self._said.add(line)
            self._say(line)


class _Incoming(io.RawIOBase):
    """What a client sends, until a moment: one byte now and then does not buy it more time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self.end = connection, 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Head(io.BufferedReader):
    """Counts what is read line by line: the head of a request."""

    left = HEAD

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(self.left + 1 if size is None or size < 0 else size)
        self.left -= len(line)
        if self.left < 0:
            raise Refused(431, "the head of the request is too large")
        return line


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    requestline, request_version, command = "", "HTTP/1.1", ""

    def setup(self) -> None:
        """Read through limits."""
        super().setup()
        self._incoming = _Incoming(self.connection)
        self.rfile = self._head = _Head(self._incoming)

    def version_string(self) -> str:
        """Tell nobody which Python this is."""
        return "movinet"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: requests are no news."""

    def handle_one_request(self) -> None:
        """Read and answer a request, or say why not."""
        self._incoming.end = time.monotonic() + RECEIVE
        self._head.left = HEAD
        self._begun = False
        try:
            super().handle_one_request()
        except Refused as refused:
            self.close_connection = True
            self._refuse(refused)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse in one line of text; the standard library calls this for what it cannot read."""
        self.close_connection = True
        self._refuse(Refused(int(code), message or "it cannot be answered"))

    def do_GET(self) -> None:
        """Answer a GET."""
        self._answer(self._get)

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """Answer a POST."""
        self._answer(self._post)

    def _answer(self, answer: Any) -> None:
        try:
            body = self._body()
            self.connection.settimeout(SEND)
            path = self._path()
            if self.server.state.closed:  # a connection that outlives it, and its passwords
                self.close_connection = True
                raise Refused(503, "this page is closed")
            self._check_host()
            answer(path, body)
        except Refused as refused:
            self._refuse(refused)
        except OSError:  # the client is gone or stands still
            self.close_connection = True
        except Exception as error:  # ours to mend, but no reason to answer nothing
            self.server.tell(error)
            self.close_connection = True
            self._refuse(Refused(500, "this is a mistake of movinet watch"))

    # What was asked.

    def _body(self) -> bytes:
        said = self.headers.get_all("Content-Length") or ["0"]
        if "Transfer-Encoding" in self.headers or len(said) > 1 or not said[0].isascii():
            self.close_connection = True
            raise Refused(400, "the length of the body must be said, once")
        if not said[0].isdigit() or len(said[0]) > 9:
            self.close_connection = True
            raise Refused(400, "Content-Length is no number")
        length = int(said[0])
        if length > BODY:
            self.close_connection = True
            raise Refused(413, f"the body is larger than {BODY} bytes")
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionResetError
        return body

    def _path(self) -> str:
        try:
            return unquote(urlsplit(self.path).path, errors="strict")
        except ValueError as error:
            raise Refused(400, "the path is none") from error

    def _check_host(self) -> None:
        """Refuse names that are not ours, where no password keeps pages of others out.

        A page elsewhere may let its own name point to this machine (DNS rebinding).
        """
        if self.server.sessions.hashed or not self.server.local_only:
            return
        try:
            name = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        except ValueError:
            name = ""
        if not is_loopback(name):
            raise Refused(403, "without a password, this answers to localhost only")

    def _check_origin(self) -> None:
        """Refuse what a page elsewhere makes a browser send."""
        origin, site = self.headers.get("Origin"), self.headers.get("Sec-Fetch-Site")
        try:
            same = origin is None or urlsplit(origin).netloc == self.headers.get("Host", "")
        except ValueError:
            same = False
        if not same or site not in (None, "same-origin", "none"):
            raise Refused(403, "it comes from another page")

    def _token(self) -> str:
        """Return our cookie. The library reads none where another one on this host is odd."""
        for one in self.headers.get("Cookie", "").split(";"):
            name, _, value = one.strip().partition("=")
            if name == COOKIE:
                return value
        return ""

    def _admitted(self) -> bool:
        sessions = self.server.sessions
        if not sessions.hashed or sessions.holds(self._token()):
            return True
        password = basic_password(self.headers.get("Authorization", ""))
        if password is None:
            return False
        self._attempt(password)
        return True

    def _attempt(self, password: str) -> None:
        wait = self.server.sessions.attempt(password, str(self.client_address[0]))
        if wait is None:
            return
        if wait > 0:
            seconds = str(int(wait) + 1)
            line = f"too many attempts; wait {seconds} seconds"
            raise Refused(429, line, **{"Retry-After": seconds})
        raise Refused(401, "the password is wrong")

    # Answers.

    def _get(self, path: str, _: bytes) -> None:
        if path not in OPEN and not self._admitted():
            if path == "/":
                self._send(303, b"", "text/plain", {"Location": "/login"})
                return
            raise Refused(401, "log in at /login")
        if path in FILES:
            name, kind = FILES[path]
            self._send(200, Path(__file__).with_name(name).read_bytes(), kind)
        elif path == "/healthz":
            self._health()
        elif path == "/metrics":
            text = metrics(self.server.state, _now())
            self._send(200, text.encode(), "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/api/cameras":
            self._json(self._cameras() | {"curves": self.server.state.curves()})
        elif path == "/api/events":
            self._json({"events": self.server.state.events()})
        elif path == "/events":
            self._tell_news()
        elif match := PICTURE.fullmatch(path):
            self._pictures(match[2], match[1] == "stream")
        elif match := CLIP.fullmatch(path):
            self._clip(match[1], CLIP_TYPES[match[2]])
        else:
            raise Refused(404, "there is nothing here")

    def _post(self, path: str, body: bytes) -> None:
        self._check_origin()
        if path == "/login":
            self._log_in(body)
            return
        if not self._admitted():
            raise Refused(401, "log in at /login")
        if path == "/logout":
            self.server.sessions.end(self._token())
            gone = f"{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict"
            self._send(303, b"", "text/plain", {"Location": "/login", "Set-Cookie": gone})
        elif match := SWITCH.fullmatch(path):
            camera = self.server.state.known.get(match[1])
            if camera is None:
                raise Refused(404, "there is no such camera")
            camera.switch(match[2] == "on")
            self._json({"camera": match[1], "switched": match[2]}, 202)
        else:
            raise Refused(404, "there is nothing here")

    def _log_in(self, body: bytes) -> None:
        if not self.server.sessions.hashed:
            raise Refused(404, "there is no password")
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=None)
        self._attempt(fields.get("password", [""])[0])
        token = self.server.sessions.begin()
        cookie = f"{COOKIE}={token}; Path=/; Max-Age={LASTS:.0f}; HttpOnly; SameSite=Strict"
        self._send(303, b"", "text/plain", {"Location": "/", "Set-Cookie": cookie})

    def _cameras(self) -> dict[str, Any]:
        return {
            "cameras": self.server.state.statuses(),
            "temperature": temperature(),
            "password": bool(self.server.sessions.hashed),
        }

    def _health(self) -> None:
        gone = self.server.state.gone(_now())
        status, line = (503, f"{len(gone)} cameras are gone\n") if gone else (200, "ok\n")
        self._send(status, line.encode(), "text/plain; charset=utf-8")

    def _tell_news(self) -> None:
        """Server-sent events until the client goes; who is slow gets the newest only."""
        self._open("text/event-stream; charset=utf-8")
        if self.command == "HEAD":
            return
        state = self.server.state
        known, listed = state.number, 0.0
        while not state.closed:
            now = time.monotonic()
            known, news = state.newer(known, min(PING, STEADY))
            if now - listed >= STEADY or ("cameras", None) in news:
                listed = now
                news = [("cameras", self._cameras()), *news]
            parts = [
                f"event: {kind}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n"
                for kind, value in news
                if value is not None
            ]
            self.wfile.write(("".join(parts) or ": nothing new\n\n").encode())
            time.sleep(BATCH)

    def _pictures(self, camera: str, stream: bool) -> None:
        """The newest picture, or one after the other."""
        state = self.server.state
        view = state.view(camera)
        if view is None:
            raise Refused(404, "there is no such camera")
        if not stream:
            picture = view.picture()[1]
            if not picture:
                raise Refused(404, "there is no picture yet")
            self._send(200, picture, "image/jpeg")
            return
        self._open(f"multipart/x-mixed-replace; boundary={EDGE}")
        known = 0
        while self.command != "HEAD":
            newer = state.wait_for_picture(camera, known, PING)
            if newer is None:
                return
            if newer.number == known:
                # A connection whose client is gone is found by writing only; the same again.
                # Without any picture there is nothing to write: who still wants one asks again.
                if not known:
                    return
                known = 0
                continue
            known, picture = newer.picture()
            if not picture:
                continue
            head = f"--{EDGE}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            self.wfile.write(head.encode() + picture + b"\r\n")
            time.sleep(BATCH)

    def _clip(self, name: str, kind: str) -> None:
        """A file of the clips' folder, or the part of it that was asked for."""
        clips = self.server.clips
        if clips is None:
            raise Refused(404, "no clips are kept")
        path = (clips / name).resolve()
        if not path.is_relative_to(clips.resolve()):  # by a link
            raise Refused(404, "there is no such clip")
        try:
            file = path.open("rb")
        except OSError as error:
            raise Refused(404, "there is no such clip") from error
        with file:
            size = file.seek(0, io.SEEK_END)
            wanted = part(self.headers.get("Range", ""), size)
            headers = {"Accept-Ranges": "bytes", "Cache-Control": "private, max-age=3600"}
            if wanted is None:
                begin, end, status = 0, size, 200
            else:
                (begin, end), status = wanted, 206
                if begin >= end:
                    raise Refused(416, "not that long", **{"Content-Range": f"bytes */{size}"})
                headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
            self._head_of(status, kind, end - begin, headers)
            if self.command == "HEAD":
                return
            file.seek(begin)
            while begin < end and (piece := file.read(min(PART, end - begin))):
                self.wfile.write(piece)
                begin += len(piece)
            if begin < end:  # it was cut off meanwhile
                self.close_connection = True

    def _open(self, kind: str) -> None:
        """Begin an answer that has no end."""
        self.close_connection = True
        self._head_of(200, kind, None, {})

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value, ensure_ascii=False).encode(), "application/json")

    def _refuse(self, refused: Refused) -> None:
        """Say why not; as JSON under /api."""
        if self._begun:  # half an answer: the client sees that it ends
            self.close_connection = True
            return
        api = getattr(self, "path", "").startswith("/api/")
        line = json.dumps({"error": refused.line}) if api else f"{refused.line}\n"
        kind = "application/json" if api else "text/plain; charset=utf-8"
        try:
            self.connection.settimeout(SEND)
            self._send(refused.status, line.encode(), kind, refused.headers)
        except OSError:
            self.close_connection = True

    def _send(
        self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self._head_of(status, kind, len(body), headers or {})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head_of(
        self, status: int, kind: str, length: int | None, headers: Mapping[str, str]
    ) -> None:
        self._begun = True
        self.request_version = "HTTP/1.1"  # of what was no request, the library assumes 0.9
        self.send_response(status)
        said = {"Content-Type": kind, "Cache-Control": "no-store"} | HEADERS | dict(headers)
        if length is not None:
            said["Content-Length"] = str(length)
        if self.close_connection:
            said["Connection"] = "close"
        for name, value in said.items():
            self.send_header(name, value)
        self.end_headers()


def _now() -> datetime:
    return datetime.now().astimezone()
