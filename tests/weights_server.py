"""A real HTTP server on loopback that gives out weights, and does so badly when told to."""

import gzip
import http.server
import io
import random
import re
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from movinet_models.fetch import Limits
from movinet_models.registry import Source

FAST = Limits(connect=10, silence=10, window=10, window_bytes=1, pause=0.01, wait=60)
MODEL = "a0-stream"


@dataclass
class Reply:
    """How a path is answered.

    ``cuts``: each answer in turn stops after so many bytes of its body. ``length``: what is
    declared; None: nothing. ``pause``: seconds before each piece of ``piece`` bytes.
    """

    body: bytes = b""
    status: int = 200
    etag: str | None = '"one"'
    location: str | None = None
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    declares: bool = True
    declared: int | None = None
    piece: int = 1 << 16
    pause: float = 0.0
    silent: float = 0.0  # seconds before anything


@dataclass
class Asked:
    path: str
    headers: dict[str, str]


class WeightsServer:
    """Replies by path, and the log of what was asked."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply] = {}
        self.asked: list[Asked] = []
        self.url = ""

    def paths(self) -> list[str]:
        return [one.path for one in self.asked]

    def ranges(self) -> list[str | None]:
        return [one.headers.get("range") for one in self.asked]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_: ClassVar[WeightsServer]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.close_connection = True
        log = self.server_
        path = self.path.partition("?")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        log.asked.append(Asked(self.path, headers))
        reply = log.replies.get(path, Reply(b"nothing here", 404, None))
        time.sleep(reply.silent)
        body, status, start = reply.body, reply.status, 0
        asked = re.fullmatch(r"bytes=(\d+)-", headers.get("range", ""))
        if asked and reply.ranges and status == 200 and headers.get("if-range") == reply.etag:
            start, status = int(asked[1]), 206
            body = body[start:]
        self.send_response(status)
        if reply.etag:
            self.send_header("ETag", reply.etag)
        if reply.location:
            self.send_header("Location", reply.location)
        if status == 206:
            self.send_header(
                "Content-Range", f"bytes {start}-{start + len(body) - 1}/{len(reply.body)}"
            )
        if reply.declares:
            declared = len(body) if reply.declared is None else reply.declared
            self.send_header("Content-Length", str(declared))
        self.send_header("Connection", "close")
        self.end_headers()
        body = body[: reply.cuts.pop(0)] if reply.cuts else body
        try:
            for i in range(0, len(body), reply.piece):
                time.sleep(reply.pause)
                self.wfile.write(body[i : i + reply.piece])
                self.wfile.flush()
        except OSError:
            pass  # the client had enough


@contextmanager
def serve() -> Iterator[WeightsServer]:
    log = WeightsServer()
    handler = type("Handler", (_Handler,), {"server_": log})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        log.url = f"http://127.0.0.1:{server.server_port}"
        yield log
        server.shutdown()


def archive(*names: str, seed: int = 0, size: int = 100_000) -> bytes:
    """A .tar.gz with files of random bytes."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for i, name in enumerate(names):
            member = tarfile.TarInfo(name)
            member.size = size
            tar.addfile(member, io.BytesIO(random.Random(seed + i).randbytes(size)))
    return gzip.compress(content.getvalue(), mtime=0)


def saved_model(seed: int = 0) -> bytes:
    return archive("saved_model.pb", "variables/variables.index", "variables/data", seed=seed)


def checkpoint(seed: int = 0) -> bytes:
    return archive("a0/ckpt-1.index", "a0/ckpt-1.data-00000-of-00001", seed=seed)


def tflite(seed: int = 0) -> bytes:
    return b"\x1c\0\0\0TFL3" + random.Random(seed).randbytes(50_000)


def torch_file(seed: int = 0) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        for name in ("weights/data.pkl", "weights/data/0"):
            file.writestr(zipfile.ZipInfo(name), random.Random(seed).randbytes(50_000))
    return content.getvalue()


def row(kind: str, url: str, file: str, licence: str = "Apache-2.0") -> Source:
    page = f"https://example.org/{kind}"
    return Source(kind, url, file, "kinetics-600", licence, "fifth", page=page)


def parts(folder: Path) -> list[int]:
    """The sizes of unfinished downloads."""
    return [path.stat().st_size for path in folder.rglob("*.part")]
