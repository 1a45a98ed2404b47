"""Events, states and pictures to an MQTT broker, and Home Assistant's devices.

    states   retained; only the last one of each topic is kept, all are sent on a connection
    events   a queue with an end; each waits for the broker's acknowledgement before the next

    connection lost .. back   states    settle, or Home Assistant's "online"   events

One thread speaks to the broker, with a client of paho's for each connection. An event that was
sent when the connection broke is sent again with the same id, kind and time (QoS 1), by which
whoever got it already knows it.
"""

import io
import json
import random
import time
from collections import deque
from collections.abc import Mapping
from threading import Condition, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from movinet_runtime.decisions import NOTHING
from movinet_runtime.errors import MissingPackageError
from movinet_runtime.install import install_hint
from movinet_runtime.sources.source import Say
from movinet_runtime.watch.config import MqttConfig
from movinet_runtime.watch.discovery import OFF, OFFLINE, ON, ONLINE, Topics, device
from movinet_runtime.watch.events import WatchEvent
from movinet_runtime.watch.output import CameraStatus, Output, Seen, Switchable

KEEPALIVE = 15  # seconds without an answer: the broker's machine is gone
FIRST_WAIT, LONGEST_WAIT = 1.0, 10.0  # seconds between attempts to connect, doubling
ACKNOWLEDGED = 10.0  # seconds that an acknowledgement may take
DRAIN = 5.0  # seconds that closing waits for what is queued
SENSORS = 30  # labels that get a sensor of their own: a camera with 600 would be a nuisance
PICTURE = 640  # pixels from left to right
STEADY = 1.0  # seconds between two values of the same action's probability


class MqttOutput(Output):
    """Connects, and again whenever it is lost; calls only queue.

    Args:
        config: of the broker.
        say: told of connections, lost ones and what was left out.
        old: closed before the first connection, lest its goodbye follows our hello; what it did
            not deliver is ours to deliver.

    Raises:
        MissingPackageError: paho-mqtt is not installed.
    """

    def __init__(self, config: MqttConfig, say: Say, old: "MqttOutput | None" = None) -> None:
        try:
            import paho.mqtt.client as paho
        except ImportError as error:
            raise MissingPackageError(
                f"[mqtt] needs paho-mqtt: {install_hint('movinet-runtime[watch]')}"
            ) from error
        self._paho, self._config, self._say = paho, config, say
        self._changed = Condition()
        self._cameras: Mapping[str, Switchable] = {}
        self._states: dict[str, bytes] = {}  # retained, by topic
        self._unsent: dict[str, None] = {}  # topics whose state the broker lacks, in order
        self._events: deque[tuple[str, bytes]] = deque()
        self._labels: dict[str, tuple[str, float]] = {}  # camera -> action, when it was told
        self._pictures: dict[str, float] = {}  # camera -> when one was sent
        self._wanted: set[str] = set()  # cameras whose next picture is an event's
        self._settled = 0.0  # when events may go, seconds of time.monotonic()
        self._connected = self._closing = self._again = False
        self.dropped = 0
        self._old = old
        self._heir: MqttOutput | None = None
        if old is not None:
            self._states = old.label_states(config.prefix)
        self._thread = Thread(target=self._work, daemon=True, name="mqtt")
        self._thread.start()

    # What cameras tell.

    def cameras(self, cameras: Mapping[str, Switchable]) -> None:
        """See :meth:`Output.cameras`; those that are gone disappear from Home Assistant."""
        with self._changed:
            gone = self._cameras.keys() - cameras.keys()
            self._cameras = dict(cameras)
            for name in gone:
                prefix = Topics(self._config.prefix, name).of("")
                root = self._config.discovery
                announced = Topics(self._config.prefix, name).discovery(root)
                for topic in [t for t in self._states if t.startswith(prefix) or t == announced]:
                    self._state(topic, b"")
            for name, camera in cameras.items():
                topics = Topics(self._config.prefix, name)
                labels = [one for one in camera.labels if one != NOTHING][:SENSORS]
                if self._config.discovery:
                    payload = json.dumps(device(topics, labels)).encode()
                    self._state(topics.discovery(self._config.discovery), payload)
                told = {topics.label(label) for label in labels}
                for topic in [t for t in self._states if t.startswith(topics.of("label/"))]:
                    if topic not in told:
                        self._state(topic, b"")
                for label in labels:
                    if topics.label(label) not in self._states:
                        self._state(topics.label(label), OFF.encode())
                self._tell_status(camera.status())

    def event(self, event: WatchEvent) -> None:
        """See :meth:`Output.event`."""
        topics = Topics(self._config.prefix, event.camera)
        payload = json.dumps({"event_type": event.kind, **event.as_json()}, ensure_ascii=False)
        with self._changed:
            if self._heir is not None:  # of a camera that was not told of it in time
                self._heir.event(event)
                return
            if len(self._events) == self._config.queue:
                self._events.popleft()
                self.dropped += 1
                if self.dropped == 1:
                    self._say("the broker is gone for too long: the oldest events are left out")
            self._events.append((topics.of("event"), payload.encode()))
            if topics.label(event.label) in self._states:
                value = OFF if event.kind == "end" else ON
                self._state(topics.label(event.label), value.encode())
            if event.kind == "start":
                self._wanted.add(event.camera)
            self._changed.notify_all()

    def frame(self, seen: Seen) -> None:
        """See :meth:`Output.frame`."""
        topics = Topics(self._config.prefix, seen.camera)
        now = time.monotonic()
        with self._changed:
            if seen.prediction is not None:
                (label, p), *others = seen.prediction.top(2)
                before, told = self._labels.get(seen.camera, ("", 0.0))
                if label != before or now - told >= STEADY:
                    self._labels[seen.camera] = label, now
                    about: dict[str, Any] = {"label": label, "probability": round(p, 3)}
                    if others:
                        about["runner_up"] = others[0][0]
                        about["runner_up_probability"] = round(others[0][1], 3)
                    self._state(topics.of("action"), json.dumps(about, ensure_ascii=False).encode())
            every, last = self._config.image_every, self._pictures.get(seen.camera)
            due = every and (last is None or now - last >= every)
            if not due and seen.camera not in self._wanted:
                return
            self._wanted.discard(seen.camera)
            self._pictures[seen.camera] = now
        picture = jpeg(seen.image)
        with self._changed:
            self._state(topics.of("image"), picture)

    def status(self, status: CameraStatus) -> None:
        """See :meth:`Output.status`."""
        with self._changed:
            self._tell_status(status)

    def close(self) -> None:
        """Deliver what waits, say goodbye, for each camera too: the next start may not know it."""
        with self._changed:
            for name in self._cameras:
                topics = Topics(self._config.prefix, name)
                self._state(topics.of("status"), OFFLINE.encode())
            self._closing = True
            self._changed.notify_all()
        self._thread.join(2 * DRAIN)

    def label_states(self, prefix: str) -> dict[str, bytes]:
        """The states of labels, under another prefix: events that go on are still told there."""
        with self._changed:
            own = f"{self._config.prefix}/"
            return {
                prefix + topic[len(own) - 1 :]: payload
                for topic, payload in self._states.items()
                if topic.startswith(own) and "/label/" in topic and payload
            }

    def leave(self, prefix: str, heir: "MqttOutput") -> list[tuple[str, bytes]]:
        """Close, and give up what was not delivered, under another prefix; more is the heir's."""
        self.close()
        with self._changed:
            self._heir = heir
            own = len(self._config.prefix)
            left = [(prefix + topic[own:], payload) for topic, payload in self._events]
            self._events.clear()
        return left

    def _tell_status(self, status: CameraStatus) -> None:
        topics = Topics(self._config.prefix, status.camera)
        there = status.state in ("watching", "still")
        self._state(topics.of("status"), (ONLINE if there else OFFLINE).encode())
        self._state(topics.of("watch"), (OFF if status.state == "off" else ON).encode())

    def _state(self, topic: str, payload: bytes) -> None:
        """Set a retained state; the lock is held."""
        if self._states.get(topic) != payload:
            self._states[topic] = payload
            self._unsent[topic] = None
            self._changed.notify_all()

    # What the thread does.

    def _work(self) -> None:
        self._take_over()
        wait, said = FIRST_WAIT, ""
        while not self._over():
            client = None
            try:
                client = self._connect()
                self._say(f"the broker {self._config.host}:{self._config.port} is there")
                wait, said = FIRST_WAIT, ""
                reason = self._deliver(client)
            except Exception as error:  # whatever it is, the next connection is another one
                reason = str(error) or type(error).__name__
            if client is not None:
                client.loop_stop()
            if self._over():
                return
            if reason != said:
                self._say(f"no connection to the broker {self._config.host}: {reason}")
                said = reason
            with self._changed:
                # Not all at once, when a broker comes back to many clients.
                pause = wait * random.uniform(0.5, 1.0)  # noqa: S311
                self._changed.wait_for(lambda: self._closing, pause)
            wait = min(2 * wait, LONGEST_WAIT)

    def _take_over(self) -> None:
        """Let the old one say goodbye; its events come before those that came meanwhile."""
        if self._old is not None:
            left = self._old.leave(self._config.prefix, self)
            self._old = None
            with self._changed:
                self._events.extendleft(reversed(left))
                while len(self._events) > self._config.queue:
                    self._events.popleft()
                    self.dropped += 1

    def _over(self) -> bool:
        return self._closing

    def _connect(self) -> Any:
        """Return a client whose connection the broker has accepted.

        Raises:
            OSError: there is none, or it refused.
        """
        config, paho = self._config, self._paho
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        if config.username:
            client.username_pw_set(config.username, config.password or None)
        if config.tls:
            client.tls_set(str(config.ca_file) if config.ca_file else None)
        service = Topics(config.prefix).service
        client.will_set(service, OFFLINE, qos=1, retain=True)
        answer: list[Any] = []

        def connected(_: Any, __: Any, ___: Any, code: Any, ____: Any) -> None:
            with self._changed:
                answer.append(code)
                self._connected = not code.is_failure
                self._changed.notify_all()

        def lost(_: Any, __: Any, ___: Any, code: Any, ____: Any) -> None:
            with self._changed:
                answer.append(code)
                self._connected = False
                self._changed.notify_all()

        client.on_connect, client.on_disconnect, client.on_message = connected, lost, self._heard
        client.connect(config.host, config.port, KEEPALIVE)
        client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: answer or self._closing, ACKNOWLEDGED)
            if self._connected:
                return client
        client.disconnect()
        client.loop_stop()
        raise OSError(str(answer[0]) if answer else "it does not answer")

    def _heard(self, _: Any, __: Any, message: Any) -> None:
        """Take a command, or Home Assistant's birth message."""
        config, topic, text = self._config, message.topic, message.payload.decode(errors="replace")
        if topic == f"{config.discovery}/status":
            if text == ONLINE:
                with self._changed:
                    self._settled = 0.0
                    self._unsent = dict.fromkeys(self._in_order())
                    self._changed.notify_all()
            return
        name = topic.removeprefix(f"{config.prefix}/").removesuffix("/watch/set")
        camera = self._cameras.get(name)
        if camera is not None and text in (ON, OFF) and not message.retain:
            camera.switch(text == ON)

    def _in_order(self) -> list[str]:
        """All topics with a state: devices before what their entities say."""
        return sorted(self._states, key=lambda topic: not topic.endswith("/config"))

    def _deliver(self, client: Any) -> str:
        """Send what there is until the connection is lost or there is nothing more to say."""
        with self._changed:
            self._unsent = dict.fromkeys(self._in_order())
            # Events wait until those who listen are back as well.
            late = self._again or bool(self._events)
            self._settled = time.monotonic() + (self._config.settle if late else 0.0)
            self._again = True
        client.subscribe([(f"{self._config.prefix}/+/watch/set", 1)])
        if self._config.discovery:
            client.subscribe([(f"{self._config.discovery}/status", 1)])
        service, end = Topics(self._config.prefix).service, float("inf")
        if not self._send(client, service, ONLINE.encode(), retain=True):
            return "it was lost"
        while True:
            with self._changed:
                if self._closing:
                    end = min(end, time.monotonic() + DRAIN)
                    self._settled = min(self._settled, end - DRAIN / 2)
                    if not (self._unsent or self._events) or time.monotonic() > end:
                        break
                if not self._connected:
                    return "it was lost"
                topic = next(iter(self._unsent), None)
                left = self._settled - time.monotonic()
                if topic is None and (not self._events or left > 0):
                    self._changed.wait(max(0.05, left) if self._events else KEEPALIVE)
                    continue
                if topic is not None:
                    del self._unsent[topic]
                    payload, retain = self._states[topic], True
                else:
                    (topic, payload), retain = self._events[0], False
                    handed = self._events[0]
            if self._send(client, topic, payload, retain):
                with self._changed:
                    if retain and not self._states[topic] and topic not in self._unsent:
                        del self._states[topic]  # an empty one deletes it at the broker
                    if not retain and self._events and self._events[0] is handed:
                        self._events.popleft()
            else:
                return "it was lost"
        self._send(client, service, OFFLINE.encode(), retain=True)
        client.disconnect()
        return ""

    def _send(self, client: Any, topic: str, payload: bytes, retain: bool) -> bool:
        """Publish, and wait for the acknowledgement; return whether it came."""
        info = client.publish(topic, payload, qos=1, retain=retain)
        end = time.monotonic() + ACKNOWLEDGED
        while not info.is_published():
            if not self._connected or time.monotonic() > end:
                return False
            try:
                info.wait_for_publish(0.2)
            except (ValueError, RuntimeError):
                return False
        return True


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """Return a picture, uint8 [h, w, 3], as a JPEG of a size for a phone."""
    picture = Image.fromarray(image)
    picture.thumbnail((PICTURE, PICTURE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=80)
    return file.getvalue()
