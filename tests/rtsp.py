"""A small RTSP server (RFC 2326): H.264 in RTP packets, interleaved in the TCP connection.

PyAV encodes and packs the RTP; this speaks RTSP and passes the packets on. Without a function of
pictures, the picture grows brighter with the time since the client came.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n"
    "a=control:trackID=0\r\n"
)
RATE, SIZE = 25, (64, 48)
Pictures = Callable[[float], NDArray[np.uint8]]  # at a moment of time.monotonic()


class RtspServer:
    """Serves any number of clients, one thread each."""

    def __init__(self, port: int = 0, pictures: Pictures | None = None, rate: int = RATE) -> None:
        self._pictures, self._rate = pictures, rate
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self._on = True
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/camera"

    def kill(self) -> None:
        """Drop everything at once."""
        self._on = False
        for one in (self._socket, *self._clients):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while self._on:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self._clients.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, client.makefile("rb") as requests:
                while self._on and (line := requests.readline()):
                    method, address, _ = line.decode().split()
                    headers = {}
                    while header := requests.readline().decode().strip():
                        key, _, value = header.partition(":")
                        headers[key.lower()] = value.strip()
                    self._answer(client, method, address, headers["cseq"])
        except (OSError, ValueError):
            return  # the client went away, or the server was killed

    def _answer(self, client: socket.socket, method: str, address: str, sequence: str) -> None:
        more, body = {"Session": "1"}, ""
        if method == "OPTIONS":
            more = {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"}
        elif method == "DESCRIBE":
            body = SDP
            more = {"Content-Base": f"{address}/", "Content-Type": "application/sdp"}
        elif method == "SETUP":
            more |= {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1"}
        lines = [f"CSeq: {sequence}", *(f"{k}: {v}" for k, v in more.items())]
        head = "\r\n".join(["RTSP/1.0 200 OK", *lines, f"Content-Length: {len(body)}"])
        client.sendall(f"{head}\r\n\r\n{body}".encode())
        if method == "PLAY":
            threading.Thread(target=self._play, args=(client,), daemon=True).start()

    def _picture(self, now: float, began: float) -> NDArray[np.uint8]:
        if self._pictures is not None:
            return self._pictures(now)
        return np.full((SIZE[1], SIZE[0], 3), min(255, int(40 * (now - began))), np.uint8)

    def _play(self, client: socket.socket) -> None:
        import av

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
            packets.bind(("127.0.0.1", 0))
            packets.settimeout(0.01)
            target = f"rtp://127.0.0.1:{packets.getsockname()[1]}"
            with av.open(target, "w", format="rtp") as container:
                options = {"preset": "ultrafast", "tune": "zerolatency", "g": "10"}
                rate = self._rate
                stream = container.add_stream("libx264", rate=rate, options=options)
                began, number = time.monotonic(), 0
                height, width = self._picture(began, began).shape[:2]
                stream.width, stream.height = width, height
                stream.pix_fmt = "yuv420p"
                while self._on:
                    picture = self._picture(time.monotonic(), began)
                    frame = av.VideoFrame.from_ndarray(picture, "rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, rate)
                    number += 1
                    for packet in stream.encode(frame):
                        container.mux(packet)
                    try:
                        while True:
                            content = packets.recv(65536)
                            client.sendall(b"$\0" + len(content).to_bytes(2, "big") + content)
                    except TimeoutError:
                        pass
                    except OSError:
                        return
                    time.sleep(max(0.0, began + number / rate - time.monotonic()))


@contextmanager
def rtsp_server(port: int = 0) -> Iterator[RtspServer]:
    server = RtspServer(port)
    try:
        yield server
    finally:
        server.kill()
