"""What ``config.toml`` says, as frozen values; it is checked here, once.

Files that are named are looked for, models are opened for their labels and secrets are taken
from where the file says they are: what lies behind may trust it.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import time
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from movinet_runtime.decisions import EventTracker, Selection
from movinet_runtime.description import FASTEST, Description
from movinet_runtime.engines import ENGINES
from movinet_runtime.errors import LabelsError, MovinetError
from movinet_runtime.model_file import ModelFile
from movinet_runtime.preprocess import Fit
from movinet_runtime.sources import CAMERAS
from movinet_runtime.sources.files import IMAGES
from movinet_runtime.watch.toml import Document, Table
from movinet_runtime.watch.web.address import is_loopback
from movinet_runtime.watch.web.session import is_hash

KINDS = ("start", "update", "end")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")  # also part of topics and file names
QUIET = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)")
VARIABLE = re.compile(r"\$\{(\w+)\}")
SCHEMES = ("rtsp://", "rtsps://", "http://", "https://")


@dataclass(frozen=True)
class MotionConfig:
    """When a picture counts as moving: see :mod:`movinet_runtime.watch.motion`.

    Attributes:
        level: difference in brightness of a cell that counts, of 255.
        share: of all cells that must differ.
        linger: seconds for which the network goes on after the last motion.
    """

    level: float = 6.0
    share: float = 0.005
    linger: float = 3.0


@dataclass(frozen=True)
class CameraConfig:
    """One camera. Probabilities are of the smoothed predictions; times are seconds.

    Attributes:
        name: in topics, file names and messages.
        source: as ``movinet run`` takes it, but a video file is played over and over.
        model: its path; one set of weights for all cameras that name it.
        enabled: whether it is watched from the start.
        crop: (left, top, right, bottom) of what the network sees, in fractions of the picture.
        fit: how that is brought to the model's shape.
        rate: frames a second; None: the model's.
        labels: those of interest, and from which probability on an action starts; None as
            a probability: ``on``, or the model's own. Empty: all labels.
        on, off: levels at which an action starts and ends; None: the model's own or 0.5, and
            0.7 of that.
        smooth, mean: see :class:`movinet_runtime.decisions.Smoother`.
        patience: frames in a row that make it certain, and
        min_duration: seconds that they last at least.
        cool_down: after an event in which the same label begins none.
        update_every: while an event goes on; 0: never.
        quiet: times of the day in which no event begins, local time.
        lost_after: without a picture, a camera counts as lost and its events end.
        reset_after: a pause so long (lost, or nothing moved) makes the state begin anew.
        motion: None: the network sees every frame.
        clips: whether its events are kept as clips.
    """

    name: str
    source: str = field(repr=False)  # it may hold a password
    model: Path
    enabled: bool = True
    crop: tuple[float, ...] = ()
    fit: Fit = "crop"
    rate: float | None = None
    labels: Mapping[str, float | None] = field(default_factory=dict)
    on: float | None = None
    off: float | None = None
    smooth: float = 0.0
    mean: int = 0
    patience: int = 2
    min_duration: float = 0.4
    cool_down: float = 0.0
    update_every: float = 5.0
    quiet: tuple[tuple[time, time], ...] = ()
    lost_after: float = 10.0
    reset_after: float = 10.0
    motion: MotionConfig | None = None
    clips: bool = True


@dataclass(frozen=True)
class LinesConfig:
    """Events as JSON lines: a file of at most so many MB, and so many older ones."""

    file: Path
    max_mb: float = 10.0
    keep: int = 5


@dataclass(frozen=True)
class ClipsConfig:
    """Clips on disk.

    Attributes:
        folder: with a folder for each camera in it.
        before, after: seconds around an event.
        longest: seconds of a clip; 0: no limit.
        max_days, max_gb: what is older, or too much, is deleted; 0: no limit.
        keep_free_gb: of the disk; with less, no clip is begun.
    """

    folder: Path
    before: float = 5.0
    after: float = 5.0
    longest: float = 120.0
    max_days: float = 14.0
    max_gb: float = 10.0
    keep_free_gb: float = 0.5


@dataclass(frozen=True)
class MqttConfig:
    """A broker.

    Attributes:
        prefix: of all topics; two services at one broker need two.
        discovery: prefix where Home Assistant looks for devices; empty: nothing is announced.
        settle: seconds that events wait after a reconnection, so that subscribers are back
            as well: Home Assistant takes 10, and its birth message ends the wait.
        queue: events that wait for the broker at most; the oldest go first.
        image_every: seconds between pictures while nothing happens; 0: only with events.
    """

    host: str
    port: int = 1883
    tls: bool = False
    ca_file: Path | None = None
    username: str = ""
    password: str = field(default="", repr=False)
    prefix: str = "movinet"
    discovery: str = "homeassistant"
    settle: float = 15.0
    queue: int = 1000
    image_every: float = 0.0


@dataclass(frozen=True)
class WebhookConfig:
    """An address that gets each event as JSON, by POST."""

    url: str = field(repr=False)
    kinds: tuple[str, ...] = ("start", "end")
    authorization: str = field(default="", repr=False)
    timeout: float = 5.0
    retries: int = 5
    queue: int = 200


@dataclass(frozen=True)
class CommandConfig:
    """A program that is run for each event, with the event as JSON on its standard input."""

    command: tuple[str, ...]
    kinds: tuple[str, ...] = ("start",)
    timeout: float = 30.0
    queue: int = 100


@dataclass(frozen=True)
class WebConfig:
    """The page.

    Attributes:
        host, port: where it listens.
        password_hash: as ``movinet watch --hash-password`` prints it; empty: everybody who
            reaches it may look, which only this machine can.
        clips: the folder of ``[clips]``; None: none are kept.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    password_hash: str = field(default="", repr=False)
    clips: Path | None = None


@dataclass(frozen=True)
class WatchConfig:
    """The whole file; what is None is not wanted."""

    cameras: Mapping[str, CameraConfig]
    threads: int = 1
    engine: str = "auto"
    lines: LinesConfig | None = None
    clips: ClipsConfig | None = None
    mqtt: MqttConfig | None = None
    webhook: WebhookConfig | None = None
    command: CommandConfig | None = None
    web: WebConfig | None = None


def read_config(path: Path, default_model: Callable[[], Path]) -> WatchConfig:
    """Read and check a configuration.

    Args:
        path: of the TOML file.
        default_model: of cameras that name none.

    Raises:
        ConfigError: names the line and the key, what is there and what should be.
        MissingPackageError: this Python has no TOML.
    """
    document = Document(path)
    whole = document.table
    defaults, named = whole.table("defaults"), whole.table("cameras")
    if not named.values:
        document.refuse(("cameras",), "no cameras: give at least one, [cameras.NAME]")
    models = _Models()
    cameras = {}
    for name in named.values:
        own = named.table(name, defaults)
        if not NAME.fullmatch(name):
            named.refuse(name, "a camera's name is of a-z, 0-9, - and _, 40 at most")
        cameras[name] = _camera(name, own, default_model, models)
        own.finish()
    if "source" in defaults.values:
        defaults.refuse("source", "each camera has its own")
    defaults.finish(*CameraConfig.__dataclass_fields__)
    clips = _clips(whole.table("clips")) if "clips" in whole else None
    config = WatchConfig(
        cameras,
        whole.whole("threads", 1, 1, 64),
        whole.text("engine", "auto", ENGINES),
        _lines(whole.table("events")) if "events" in whole else None,
        clips,
        _mqtt(whole.table("mqtt")) if "mqtt" in whole else None,
        _webhook(whole.table("webhook")) if "webhook" in whole else None,
        _command(whole.table("command")) if "command" in whole else None,
        _web(whole.table("web"), clips) if "web" in whole else None,
    )
    whole.finish()
    return config


class _Models:
    """What each model says of itself; a file is read once."""

    def __init__(self) -> None:
        self._known: dict[Path, Description | None] = {}

    def of(self, table: Table, model: Path) -> Description | None:
        """Return a model's description, None where it has none."""
        if model not in self._known:
            try:
                self._known[model] = ModelFile.read(model).description
            except MovinetError as error:
                table.refuse("model", str(error))
        return self._known[model]


def _camera(
    name: str, table: Table, default_model: Callable[[], Path], models: _Models
) -> CameraConfig:
    table.needed("source")
    model = table.file("model") or default_model()
    about = models.of(table, model)
    crop = table.numbers("crop", 4, 0.0, 1.0)
    if crop and not (crop[0] < crop[2] and crop[1] < crop[3]):
        table.refuse_value("crop", list(crop), "left, top, right, bottom, each pair growing")
    rate = table.number("rate", 0.0, 0.0, FASTEST, above=True) if "rate" in table else None
    on, off = _level(table, "on"), _level(table, "off")
    wanted = _labels(table, about)
    if off is not None:
        for least in wanted.values() or (None,):
            tracker = EventTracker(least or on)
            begin, _ = tracker.levels(
                about.classes if about else 1, about.thresholds if about else None
            )
            if off > begin.min():
                table.refuse("off", f"is {off:g}, above {begin.min():g}, where an action starts")
    smooth = table.number("smooth", 0.0, 0.0, 0.999)
    mean = table.whole("mean", 0, 0, 1000)
    if smooth and mean:
        table.refuse("mean", "smooth by 'smooth' or by 'mean', not both")
    return CameraConfig(
        name,
        _source(table),
        model,
        table.flag("enabled", True),
        crop,
        cast(Fit, table.text("fit", "crop", ("crop", "stretch", "pad"))),
        rate,
        wanted,
        on,
        off,
        smooth,
        mean,
        table.whole("patience", 2, 1, 1000),
        table.number("min_duration", 0.4, 0.0, 3600),
        table.number("cool_down", 0.0),
        table.number("update_every", 5.0),
        _quiet(table),
        table.number("lost_after", 10.0, 1.0, 3600),
        table.number("reset_after", 10.0),
        _motion(table),
        table.flag("clips", True),
    )


def _level(table: Table, key: str) -> float | None:
    return table.number(key, 0.0, 0.0, 1.0, above=True) if key in table else None


def _labels(table: Table, about: Description | None) -> dict[str, float | None]:
    """Read a list of labels, or a table of labels and levels; the model must know them."""
    value = table.raw("labels")
    if value is None:
        return {}
    wanted: dict[str, float | None]
    if isinstance(value, dict):
        levels = table.table("labels")
        wanted = {label: _level(levels, label) for label in levels.values}
    else:
        wanted = dict.fromkeys(table.texts("labels"))
    if not wanted:
        table.refuse("labels", "is empty; leave it out to watch for all labels")
    if about is None or about.labels is None:
        table.refuse("labels", "the model has no names for its classes")
    try:
        Selection.of(about.labels, list(wanted))
    except LabelsError as error:
        table.refuse("labels", str(error))
    return wanted


def _source(table: Table) -> str:
    """Return a camera's source; ${NAME} is what the environment says."""
    source = table.text("source")

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            table.refuse("source", f"the environment has no {match[1]}")
        return os.environ[match[1]]

    source = VARIABLE.sub(value, source)
    if source == "-":
        table.refuse("source", "standard input cannot be watched for months")
    if source.startswith((*CAMERAS, *SCHEMES)):
        return source
    if "://" in source:
        table.refuse("source", "an address begins with " + ", ".join(SCHEMES))
    path = table.path("source")
    if not table.finds("source", path.is_file):
        kinds = f"camera:N, picamera:N, /dev/videoN, {', '.join(SCHEMES)}"
        table.refuse("source", f"there is no file {path}, and cameras are {kinds}")
    return str(path)


def plays_images(source: str) -> bool:
    """Whether a source is an animation, which has no packets."""
    return "://" not in source and Path(source).suffix.lower() in IMAGES


def _quiet(table: Table) -> tuple[tuple[time, time], ...]:
    spans = []
    for text in table.texts("quiet"):
        match = QUIET.fullmatch(text.strip())
        if match is None:
            table.refuse_value("quiet", text, "such as 22:00-06:30")
        hour, minute, until_hour, until_minute = map(int, match.groups())
        spans.append((time(hour, minute), time(until_hour, until_minute)))
    return tuple(spans)


def _motion(table: Table) -> MotionConfig | None:
    """Read ``motion = true``, or a table of its own."""
    if isinstance(table.raw("motion"), bool):
        return MotionConfig() if table.flag("motion", False) else None
    if "motion" not in table:
        return None
    motion = table.table("motion")
    found = MotionConfig(
        motion.number("level", 6.0, 0.0, 255.0, above=True),
        motion.number("share", 0.005, 0.0, 1.0, above=True),
        motion.number("linger", 3.0, 0.0, 3600),
    )
    motion.finish()
    return found


def _lines(table: Table) -> LinesConfig:
    found = LinesConfig(
        _written(table, "file"),
        table.number("max_mb", 10.0, 0.0, above=True),
        table.whole("keep", 5, 1, 1000),
    )
    table.finish()
    return found


def _clips(table: Table) -> ClipsConfig:
    found = ClipsConfig(
        _written(table, "folder"),
        table.number("before", 5.0, 0.0, 60.0),
        table.number("after", 5.0, 0.0, 600.0),
        table.number("longest", 120.0, 0.0, 3600.0),
        table.number("max_days", 14.0),
        table.number("max_gb", 10.0),
        table.number("keep_free_gb", 0.5),
    )
    table.finish()
    return found


def _written(table: Table, key: str) -> Path:
    """Return a path that is written to: its parent must be there."""
    path = table.path(key)
    if not table.finds(key, path.parent.is_dir):
        table.refuse(key, f"there is no folder {path.parent}")
    return path


def _mqtt(table: Table) -> MqttConfig:
    table.needed("host")
    tls = table.flag("tls", False)
    username = table.text("username")
    password = _secret(table, "password")
    if password and not username:
        table.refuse("password_env" if "password_env" in table else "password_file", "no username")
    ca_file = table.file("ca_file")
    if ca_file and not tls:
        table.refuse("ca_file", "is for tls = true")
    found = MqttConfig(
        table.text("host"),
        table.whole("port", 8883 if tls else 1883, 1, 65535),
        tls,
        ca_file,
        username,
        password,
        _topic(table, "prefix", "movinet"),
        _topic(table, "discovery", "homeassistant") if table.raw("discovery") != "" else "",
        table.number("settle", 15.0, 0.0, 600.0),
        table.whole("queue", 1000, 1, 100_000),
        table.number("image_every", 0.0),
    )
    table.finish()
    return found


def _topic(table: Table, key: str, default: str) -> str:
    text = table.text(key, default)
    if not re.fullmatch(r"[\w-]+(/[\w-]+)*", text):
        table.refuse_value(key, text, "a topic of letters, digits, -, _ and /")
    return text


def _secret(table: Table, key: str) -> str:
    """Return what ``key_env`` or ``key_file`` names; a secret is in no configuration."""
    env, path = table.text(f"{key}_env"), table.file(f"{key}_file")
    if env and path:
        table.refuse(f"{key}_file", f"and {key}_env: give one of them")
    if env:
        if env not in os.environ:
            table.refuse(f"{key}_env", f"the environment has no {env}")
        return _printable(table, f"{key}_env", os.environ[env])
    if path is None:
        return ""
    try:
        secret = path.read_text("utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        table.refuse(f"{key}_file", f"cannot be read: {error}")
    return _printable(table, f"{key}_file", secret)


def _printable(table: Table, key: str, secret: str) -> str:
    """Refuse a secret that no header can carry, without saying it."""
    if re.search(r"[\x00-\x1f\x7f-\x9f]", secret):
        table.refuse(key, "holds a line break or another control character")
    return secret


def _kinds(table: Table, default: Sequence[str]) -> tuple[str, ...]:
    kinds = table.texts("kinds", default)
    if not kinds or not set(kinds) <= set(KINDS):
        table.refuse_value("kinds", list(kinds), "some of " + ", ".join(KINDS))
    return kinds


def _webhook(table: Table) -> WebhookConfig:
    table.needed("url")
    url = table.text("url")
    if not _is_address(url):
        table.refuse("url", "must be an http:// or https:// address, in ASCII")
    if "@" in urlsplit(url).netloc:
        table.refuse("url", "has a user in it; give authorization_env or authorization_file")
    authorization = _secret(table, "authorization")
    if any(ord(one) > 255 for one in authorization):
        key = "authorization_env" if "authorization_env" in table else "authorization_file"
        table.refuse(key, "holds a character that a header cannot")
    found = WebhookConfig(
        url,
        _kinds(table, ("start", "end")),
        authorization,
        table.number("timeout", 5.0, 0.0, 300.0, above=True),
        table.whole("retries", 5, 0, 100),
        table.whole("queue", 200, 1, 100_000),
    )
    table.finish()
    return found


def _is_address(url: str) -> bool:
    """Whether urllib can ask there."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    there = parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0
    return there and url.isascii() and url.isprintable() and " " not in url


def _command(table: Table) -> CommandConfig:
    table.needed("command")
    command = table.texts("command")
    if not command:
        table.refuse("command", "must be a list: the program and its arguments")
    found = CommandConfig(
        command,
        _kinds(table, ("start",)),
        table.number("timeout", 30.0, 0.0, 3600.0, above=True),
        table.whole("queue", 100, 1, 100_000),
    )
    table.finish()
    return found


def _web(table: Table, clips: ClipsConfig | None) -> WebConfig:
    host, hashed = table.text("host", "127.0.0.1"), table.text("password_hash")
    if hashed and not is_hash(hashed):
        table.refuse("password_hash", "is none that 'movinet watch --hash-password' prints")
    if not hashed and not is_loopback(host):
        table.refuse(
            "host",
            f"{host} is reached by others: give a password_hash ('movinet watch --hash-password')",
        )
    folder = None if clips is None else clips.folder
    found = WebConfig(host, table.whole("port", 8080, 1, 65535), hashed, folder)
    table.finish()
    return found
