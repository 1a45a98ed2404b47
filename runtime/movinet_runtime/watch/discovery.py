"""What Home Assistant is told of a camera: one device, its entities, their topics.

Fields are those of https://www.home-assistant.io/integrations/mqtt/ (device discovery, since
2024.11) and of the pages of each platform; short names only where the page asks for them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from movinet_runtime.watch.config import KINDS

ONLINE, OFFLINE, ON, OFF = "online", "offline", "ON", "OFF"


@dataclass(frozen=True)
class Topics:
    """The topics of a service, and of one camera in it.

    Attributes:
        prefix: of all.
        camera: its name.
    """

    prefix: str
    camera: str = ""

    @property
    def service(self) -> str:
        """Whether the service is there; the broker says ``offline`` when it is not."""
        return f"{self.prefix}/status"

    def of(self, what: str) -> str:
        """``status``, ``action``, ``event``, ``image``, ``watch``, ``watch/set``."""
        return f"{self.prefix}/{self.camera}/{what}"

    def label(self, label: str) -> str:
        """Whether an action goes on: ``ON`` or ``OFF``."""
        return self.of(f"label/{slug(label)}")

    def discovery(self, root: str) -> str:
        """Where the device is announced."""
        return f"{root}/device/{self.device}/config"

    @property
    def device(self) -> str:
        """Its id."""
        return f"{self.prefix.replace('/', '_')}_{self.camera}"


def slug(label: str) -> str:
    """Return a label as part of a topic or id: letters, digits and ``_``."""
    return re.sub(r"\W+", "_", label.lower()).strip("_") or "_"


def device(topics: Topics, labels: Sequence[str]) -> dict[str, Any]:
    """Return the discovery payload of a camera.

    Args:
        topics: of the camera.
        labels: those that get a sensor of their own.
    """
    name = topics.device

    def component(platform: str, key: str, title: str, **more: Any) -> tuple[str, dict[str, Any]]:
        return key, {"p": platform, "unique_id": f"{name}_{key}", "name": title, **more}

    components = [
        component(
            "sensor",
            "action",
            "Action",
            icon="mdi:run",
            state_topic=topics.of("action"),
            value_template="{{ value_json.label }}",
            json_attributes_topic=topics.of("action"),
        ),
        component(
            "event",
            "event",
            "Event",
            icon="mdi:motion-sensor",
            state_topic=topics.of("event"),
            event_types=list(KINDS),
        ),
        component(
            "image",
            "image",
            "Last event",
            image_topic=topics.of("image"),
            content_type="image/jpeg",
        ),
        component(
            "switch",
            "watch",
            "Watch",
            icon="mdi:eye",
            state_topic=topics.of("watch"),
            command_topic=topics.of("watch/set"),
            # A camera that is switched off is not there, but can be switched on.
            availability=[{"topic": topics.service}],
        ),
        *(
            component(
                "binary_sensor", f"label_{slug(label)}", label, state_topic=topics.label(label)
            )
            for label in labels
        ),
    ]
    return {
        "dev": {
            "ids": [name],
            "name": f"MoViNet {topics.camera}",
            "mf": "movinet-edge",
            "mdl": "movinet watch",
            "sw": version("movinet-runtime"),
        },
        "o": {"name": "movinet watch", "sw": version("movinet-runtime")},
        "availability": [{"topic": topics.service}, {"topic": topics.of("status")}],
        "availability_mode": "all",
        "qos": 1,
        "cmps": dict(components),
    }
