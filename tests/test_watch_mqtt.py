"""MQTT against a real broker, and Home Assistant's discovery against its own documentation."""

import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from movinet_runtime.errors import MissingPackageError
from movinet_runtime.watch.config import MqttConfig, WatchConfig
from movinet_runtime.watch.discovery import Topics, device, slug
from movinet_runtime.watch.mqtt import MqttOutput
from movinet_runtime.watch.output import CameraStatus, Seen
from movinet_runtime.watch.service import Service
from tests.broker import Broker, home, mosquitto
from tests.small import LABELS, small_model
from tests.test_watch import NOON, event, predicted
from tests.watching import Memory, camera_config, coloured, film, until


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("movinet_runtime.watch.mqtt.FIRST_WAIT", 0.1)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
def said() -> list[str]:
    return []


class Switch:
    """A camera that remembers how it was switched."""

    labels = LABELS
    lost_after = 10.0

    def __init__(self, state: Any = "watching") -> None:
        self.on: list[bool] = []
        self._state = state

    def status(self) -> CameraStatus:
        return CameraStatus("cam", self._state, NOON)

    def switch(self, on: bool) -> None:
        self.on.append(on)


def config(broker: Broker, **more: Any) -> MqttConfig:
    return MqttConfig("127.0.0.1", broker.port, **({"settle": 0.5} | more))


# What Home Assistant documents. Root: https://www.home-assistant.io/integrations/mqtt/, section
# "Device discovery payload"; each platform: the table "Configuration" of
# https://www.home-assistant.io/integrations/PLATFORM.mqtt/. Read 2026-11.
SHORT = {"dev": "device", "o": "origin", "cmps": "components", "p": "platform"}
SHORT_DEVICE = {"ids": "identifiers", "mf": "manufacturer", "mdl": "model", "sw": "sw_version"}
ROOT = {"device", "origin", "components", "availability", "availability_mode", "qos"}
DEVICE = {"identifiers", "name", "manufacturer", "model", "sw_version"}
ORIGIN = {"name", "sw"}  # "sw" is sw_version there as well
COMMON = {"platform", "unique_id", "name", "icon", "availability"}
PLATFORMS: dict[str, tuple[set[str], set[str]]] = {  # platform -> (required, what else may be)
    "sensor": ({"state_topic"}, {"value_template", "json_attributes_topic"}),
    "binary_sensor": ({"state_topic"}, {"payload_on", "payload_off", "device_class"}),
    "event": ({"state_topic", "event_types"}, {"device_class"}),
    "image": ({"image_topic"}, {"content_type"}),
    "switch": ({"command_topic"}, {"state_topic", "payload_on", "payload_off"}),
}


def long_names(values: dict[str, Any], short: dict[str, str]) -> dict[str, Any]:
    return {short.get(key, key): value for key, value in values.items()}


def test_discovery_says_what_home_assistant_documents() -> None:
    topics = Topics("movinet", "door")
    payload = long_names(device(topics, ["jumping jacks", "waving hand"]), SHORT)
    assert payload.keys() == ROOT
    assert payload["availability_mode"] in ("all", "any", "latest")
    assert long_names(payload["device"], SHORT_DEVICE).keys() == DEVICE
    assert payload["origin"].keys() == ORIGIN
    ids = set()
    for component in payload["components"].values():
        component = long_names(component, SHORT)
        needed, allowed = PLATFORMS[component["platform"]]
        assert component.keys() >= needed | {"platform", "unique_id"}
        assert component.keys() <= needed | allowed | COMMON
        ids.add(component["unique_id"])
        topic_keys = [key for key in component if key.endswith("_topic")]
        assert all(component[key].startswith("movinet/door/") for key in topic_keys)
    assert len(ids) == len(payload["components"]) == 6
    kinds = [component["p"] for component in payload["components"].values()]
    assert sorted(set(kinds)) == sorted(PLATFORMS)
    assert topics.discovery("homeassistant") == "homeassistant/device/movinet_door/config"


def test_labels_become_topics() -> None:
    assert slug("Jumping jacks (fast)") == "jumping_jacks_fast"
    assert slug("Ärger/#+") == "ärger"
    assert slug("+") == "_"
    assert re.fullmatch(r"[a-zA-Z0-9_-]+", Topics("a/b", "door").device)


def test_states_are_retained_and_home_assistant_may_restart(
    broker: Broker, said: list[str]
) -> None:
    output = MqttOutput(config(broker), said.append)
    output.cameras({"cam": Switch()})
    with home(broker.port) as first:
        until(lambda: first.state("movinet/status") == "online")
        until(lambda: first.state("movinet/cam/watch") == "ON")
        assert first.state("movinet/cam/status") == "online"
        until(lambda: first.state("movinet/cam/label/action_0") == "OFF")
        output.event(event())
        until(lambda: first.state("movinet/cam/label/action_0") == "ON")
        (told,) = first.events()
        assert told["event_type"] == "start"
        assert told["id"] == "1"
        image = coloured(0)
        output.frame(Seen("cam", image, predicted(0, 0.0, 0.8), NOON))
        until(lambda: "action 0" in first.state("movinet/cam/action"))
        action = json.loads(first.retained["movinet/cam/action"])
        assert (action["probability"], action["runner_up_probability"]) == (0.8, 0.1)
        until(lambda: "movinet/cam/image" in first.retained)
        picture = np.asarray(Image.open(io.BytesIO(first.retained["movinet/cam/image"])))
        assert picture[..., 0].mean() > 200
    with home(broker.port) as second:  # Home Assistant was started anew
        until(lambda: "movinet/cam/image" in second.retained)
        assert second.state("movinet/cam/label/action_0") == "ON"
        assert second.events() == []  # an event is not retained
        announced = "homeassistant/device/movinet_cam/config"
        # Retained, and published again when it says that it is online.
        until(lambda: [topic for topic, _ in second.live].count(announced) >= 2)
        output.close()
        until(lambda: second.state("movinet/status") == "offline")
    assert [line for line in said if "is there" not in line] == []


def test_events_wait_for_a_broker_that_was_killed(broker: Broker, said: list[str]) -> None:
    """And for those who listen, who come back later than we do."""
    output = MqttOutput(config(broker, settle=5.0), said.append)
    output.cameras({"cam": Switch()})
    with home(broker.port) as listener:
        output.event(event(id="0"))
        until(lambda: len(listener.events()) == 1)
        broker.kill()
        for number in range(1, 41):
            output.event(event("end" if number % 2 else "start", id=str(number)))
        until(lambda: any("no connection" in line for line in said))
        broker.start()
        until(lambda: len(listener.events()) >= 41)
        # The state of everything is there again, though the broker had forgotten it.
        until(lambda: listener.state("movinet/cam/label/action_0") == "ON")
        output.event(event(id="last"))
        until(lambda: listener.events()[-1]["id"] == "last")
        ids = [one["id"] for one in listener.events()]
        assert ids == [*map(str, range(41)), "last"]  # none lost, none twice, in order
    output.close()
    assert output.dropped == 0


def test_events_wait_for_a_broker_that_was_never_there(tmp_path: Path, said: list[str]) -> None:
    with mosquitto(tmp_path) as broker:
        broker.kill()
        output = MqttOutput(config(broker, queue=5), said.append)
        output.cameras({"cam": Switch()})
        for number in range(8):
            output.event(event(id=str(number)))
        until(lambda: said)
        broker.start()
        with home(broker.port) as listener:
            until(lambda: len(listener.events()) == 5)
            assert [one["id"] for one in listener.events()] == ["3", "4", "5", "6", "7"]
        output.close()
        assert output.dropped == 3
        assert sum("oldest events are left out" in line for line in said) == 1


def test_another_configuration_takes_over_what_waits(tmp_path: Path, said: list[str]) -> None:
    with mosquitto(tmp_path) as broker:
        broker.kill()
        old = MqttOutput(config(broker), said.append)
        old.cameras({"cam": Switch()})
        old.event(event(id="0"))
        old.event(event(id="1"))
        until(lambda: said)
        new = MqttOutput(config(broker, prefix="other"), said.append, old)
        new.event(event(id="3"))
        until(lambda: old._heir)
        old.event(event(id="4"))  # of a camera that did not know yet
        new.cameras({"cam": Switch()})
        broker.start()
        with home(broker.port, prefix="other") as listener:
            until(lambda: len(listener.events()) == 4)
            assert [one["id"] for one in listener.events()] == ["0", "1", "3", "4"]
            # It goes on.
            until(lambda: listener.state("other/cam/label/action_0") == "ON")
            until(lambda: listener.state("other/cam/status") == "online")
            new.close()
            # The next start may know no such camera.
            until(lambda: listener.state("other/cam/status") == "offline")
            until(lambda: listener.state("other/status") == "offline")


def test_the_broker_says_that_a_killed_service_is_gone(
    broker: Broker, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last will: what the broker publishes when the connection breaks without goodbye."""
    output = MqttOutput(config(broker), said.append)
    with home(broker.port) as listener:
        until(lambda: listener.state("movinet/status") == "online")
        clients: list[Any] = []
        plain = MqttOutput._send

        def send(self: Any, client: Any, *more: Any, **named: Any) -> bool:
            clients.append(client)
            return plain(self, client, *more, **named)

        monkeypatch.setattr(MqttOutput, "_send", send)
        output.event(event())
        until(lambda: clients)
        clients[0].socket().shutdown(2)
        until(lambda: ("movinet/status", b"offline") in listener.live)
        until(lambda: listener.state("movinet/status") == "online")  # and it comes back
    output.close()


def test_cameras_are_switched_and_disappear(broker: Broker, said: list[str]) -> None:
    output = MqttOutput(config(broker), said.append)
    camera = Switch()
    output.cameras({"cam": camera})
    with home(broker.port) as listener:
        until(lambda: listener.state("movinet/cam/watch") == "ON")
        listener.say("movinet/cam/watch/set", "OFF")
        until(lambda: camera.on == [False])
        output.status(replace(camera.status(), state="off"))
        until(lambda: listener.state("movinet/cam/watch") == "OFF")
        assert listener.state("movinet/cam/status") == "offline"
        listener.say("movinet/cam/watch/set", "nonsense")
        listener.say("movinet/other/watch/set", "ON")
        listener.say("movinet/cam/watch/set", "ON")
        until(lambda: camera.on == [False, True])
        output.cameras({})
        until(lambda: listener.retained["homeassistant/device/movinet_cam/config"] == b"")
        until(lambda: listener.retained["movinet/cam/label/action_0"] == b"")
    output.close()


def test_without_its_library_it_names_the_line_that_adds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(
        MissingPackageError, match=r"\[mqtt\] needs paho-mqtt: .*pip install .*watch"
    ):
        MqttOutput(MqttConfig("127.0.0.1"), print)


def certificates(folder: Path) -> None:
    """An authority, and a certificate of 127.0.0.1 by it."""
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    files = ["-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command, *files], cwd=folder, check=True, capture_output=True)


def test_tls_and_passwords(tmp_path: Path, said: list[str]) -> None:
    certificates(tmp_path)
    passwords = tmp_path / "passwords"
    made = subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "me", "secret"])
    assert made.returncode == 0
    lines = [f"certfile {tmp_path}/cert.pem", f"keyfile {tmp_path}/key.pem"]
    lines += ["allow_anonymous false", f"password_file {passwords}"]
    ca = tmp_path / "cert.pem"
    with mosquitto(tmp_path, lines) as broker:
        wrong = MqttOutput(
            config(broker, tls=True, ca_file=ca, username="me", password="x"), said.append
        )
        until(lambda: any("Not authorized" in line for line in said))
        wrong.close()
        strange = MqttOutput(
            config(broker, tls=True, username="me", password="secret"), said.append
        )
        until(lambda: any("CERTIFICATE_VERIFY_FAILED" in line for line in said))
        strange.close()
        right = config(broker, tls=True, ca_file=ca, username="me", password="secret")
        output = MqttOutput(right, said.append)
        with home(broker.port, user="me", password="secret", ca=ca) as listener:
            until(lambda: listener.state("movinet/status") == "online")
        output.close()
    assert not any("secret" in line for line in said)


def test_a_service_tells_what_its_camera_sees(
    tmp_path: Path, broker: Broker, said: list[str]
) -> None:
    model = small_model(tmp_path / "m.tflite")
    clip = film(tmp_path / "clip.mp4", [(-1, 0.5), (0, 0.5)])
    memory = Memory()
    camera = camera_config(clip, model, rate=10, labels={"action 0": None})
    running = Service(WatchConfig({"cam": camera}, mqtt=config(broker)), said.append, (memory,))
    with home(broker.port) as listener:
        until(lambda: listener.state("movinet/status") == "online")
        listener.say("movinet/cam/watch/set", "OFF")
        until(lambda: listener.state("movinet/cam/watch") == "OFF")
        assert memory.states[-1].state == "off"
        listener.say("movinet/cam/watch/set", "ON")
        told = len(memory.events)
        until(lambda: len(memory.events) > told + 3)
        running.close()
        until(lambda: listener.state("movinet/status") == "offline")
        heard = [(one["id"], one["kind"]) for one in listener.events()]
        happened = [(one.id, one.kind) for one in memory.events]
        assert heard == happened[-len(heard) :]
        assert listener.state("movinet/cam/label/action_0") == "OFF"
        assert "movinet/cam/label/action_1" not in listener.retained
