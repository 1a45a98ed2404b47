"""A real broker: mosquitto on loopback, killed and started again; and who listens to it."""

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


class Broker:
    def __init__(self, folder: Path, lines: Sequence[str] = ()) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._file = folder / "mosquitto.conf"
        plain = ["allow_anonymous true"] if not lines else []
        if os.geteuid() == 0:  # or it becomes another user, who may not read a test's files
            plain.append("user root")
        self._file.write_text("\n".join([f"listener {self.port} 127.0.0.1", *plain, *lines]))
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        assert MOSQUITTO
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", self._file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError("mosquitto does not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def mosquitto(folder: Path, lines: Sequence[str] = ()) -> Iterator[Broker]:
    """A running broker; the test is skipped where there is no mosquitto."""
    if MOSQUITTO is None:
        pytest.skip("no mosquitto here: apt-get install mosquitto")
    broker = Broker(folder, lines)
    try:
        yield broker
    finally:
        broker.kill()


class Home:
    """Listens as Home Assistant does: subscribes, then says that it is online."""

    def __init__(
        self,
        port: int,
        user: str = "",
        password: str = "",
        ca: Path | None = None,
        prefix: str = "movinet",
    ) -> None:
        self._prefix = prefix
        self.retained: dict[str, bytes] = {}  # as a client that comes now would see it
        self.live: list[tuple[str, bytes]] = []
        self._lock = threading.Lock()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        if user:
            self._client.username_pw_set(user, password)
        if ca is not None:
            self._client.tls_set(str(ca))
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect, self._client.on_message = self._connected, self._heard
        listens = threading.Event()  # before, what is told is told to nobody
        self._client.on_subscribe = lambda *_: listens.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert listens.wait(20), "the broker does not let us listen"

    def _connected(self, client: Any, *_: Any) -> None:
        client.subscribe([(f"{self._prefix}/#", 1), ("homeassistant/device/#", 1)])
        client.publish("homeassistant/status", "online", qos=1)

    def _heard(self, _: Any, __: Any, message: Any) -> None:
        with self._lock:
            self.retained[message.topic] = message.payload
            self.live.append((message.topic, message.payload))

    def events(self) -> list[dict[str, Any]]:
        with self._lock:
            return [json.loads(p) for topic, p in self.live if topic.endswith("/event")]

    def say(self, topic: str, payload: str, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(5)

    def state(self, topic: str) -> str:
        return self.retained.get(topic, b"-").decode()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def home(port: int, **more: Any) -> Iterator[Home]:
    listener = Home(port, **more)
    try:
        yield listener
    finally:
        listener.close()
