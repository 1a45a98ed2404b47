"""The configuration of movinet watch: what is wrong is refused by line and key."""

import subprocess
import sys
from datetime import time
from pathlib import Path

import pytest
import tomllib

from movinet_runtime.errors import ConfigError
from movinet_runtime.watch.config import MotionConfig, WatchConfig, read_config
from movinet_runtime.watch.toml import Document
from tests.small import small_model

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main", "watch"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model(tmp_path / "m.tflite")


def read(folder: Path, text: str) -> WatchConfig:
    path = folder / "config.toml"
    path.write_text(text, "utf-8")
    return read_config(path, lambda: folder / "m.tflite")


def test_everything_that_can_be_said(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOOR", "geheim")
    monkeypatch.setenv("HOOK", "Bearer 1")
    (tmp_path / "secret").write_text("pass\n")
    (tmp_path / "ca.pem").write_text("x")
    config = read(
        tmp_path,
        """
        threads = 2
        [defaults]
        smooth = 0.5
        quiet = ["22:00-06:30", "12:00 - 13:00"]
        [cameras.door]
        source = "rtsp://me:${DOOR}@door.local/1"
        model = "m.tflite"
        crop = [0.25, 0, 0.75, 1]
        rate = 8
        labels = { "action 0" = 0.8, "action 2" = 0.5 }
        off = 0.3
        patience = 3
        motion = { share = 0.01 }
        [cameras.yard]
        source = "camera:0"
        smooth = 0
        mean = 4
        labels = ["action 1"]
        quiet = []
        motion = true
        [events]
        file = "events.jsonl"
        [clips]
        folder = "clips"
        before = 3
        [mqtt]
        host = "broker"
        tls = true
        ca_file = "ca.pem"
        username = "me"
        password_file = "secret"
        [webhook]
        url = "https://example.com/hook"
        authorization_env = "HOOK"
        kinds = ["end"]
        [command]
        command = ["notify", "--now"]
        """,
    )
    door, yard = config.cameras["door"], config.cameras["yard"]
    assert door.source == "rtsp://me:geheim@door.local/1"
    assert door.model == tmp_path / "m.tflite"
    assert door.crop == (0.25, 0.0, 0.75, 1.0)
    assert door.labels == {"action 0": 0.8, "action 2": 0.5}
    assert (door.smooth, door.patience, door.off, door.rate) == (0.5, 3, 0.3, 8.0)
    assert door.quiet == ((time(22), time(6, 30)), (time(12), time(13)))
    assert door.motion == MotionConfig(share=0.01)
    assert yard.labels == {"action 1": None}
    assert (yard.smooth, yard.mean, yard.quiet) == (0.0, 4, ())
    assert yard.motion == MotionConfig()
    assert config.lines is not None
    assert config.lines.file == tmp_path / "events.jsonl"
    assert config.clips is not None
    assert config.clips.before == 3.0
    assert config.mqtt is not None
    assert (config.mqtt.port, config.mqtt.password) == (8883, "pass")
    assert config.webhook is not None
    assert config.webhook.authorization == "Bearer 1"
    assert config.command is not None
    shown = repr(config)  # in a log, say
    assert "pass'" not in shown
    assert "Bearer" not in shown


BASE = '[cameras.door]\nsource = "camera:0"\n'


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "cameras: no cameras: give at least one"),
        ("[cameras.door]\n", 1, "cameras.door.source: is missing"),
        ('[cameras.Door]\nsource = "camera:0"\n', 1, "cameras.Door: a camera's name is of a-z"),
        (
            BASE + "patiance = 3\n",
            3,
            "cameras.door.patiance: no such key; did you mean 'patience'?",
        ),
        (BASE + "# why\npatience = 2.5\n", 4, "cameras.door.patience: is 2.5; it must be a whole"),
        (BASE + "patience = true\n", 3, "is True; it must be a whole number from 1 to 1000"),
        (BASE + "rate = nan\n", 3, "cameras.door.rate: is nan; it must be a number above 0"),
        (BASE + "smooth = 1\n", 3, "is 1; it must be a number from 0 on, 0.999 at most"),
        (BASE + "smooth = 0.5\nmean = 3\n", 4, "smooth by 'smooth' or by 'mean', not both"),
        (
            BASE + "crop = [\n 0.5,\n 0,\n 0.2,\n 1]\n",
            3,
            "cameras.door.crop: is [0.5, 0.0, 0.2, 1.0]",
        ),
        (BASE + "crop = [0, 0, 1]\n", 3, "it must be 4 numbers from 0 to 1"),
        (BASE + 'labels = ["action 7"]\n', 3, "no label 'action 7' in the model; did you mean"),
        (BASE + "labels = []\n", 3, "cameras.door.labels: is empty"),
        (BASE + '[cameras.door.labels]\n"action 0" = 2\n', 4, "cameras.door.labels.action 0: is 2"),
        (BASE + "on = 0.5\noff = 0.6\n", 4, "is 0.6, above 0.5, where an action starts"),
        (BASE + 'off = 0.6\nlabels = {"action 0" = 0.4}\n', 3, "is 0.6, above 0.4, where"),
        (BASE + 'quiet = ["25:00-06:00"]\n', 3, "it must be such as 22:00-06:30"),
        (BASE + "motion = { share = 0 }\n", 3, "cameras.door.motion.share: is 0; it must be"),
        (BASE + 'model = "none.tflite"\n', 3, "cameras.door.model: there is no file"),
        (BASE + 'model = "config.toml"\n', 3, "cameras.door.model: "),
        ('[cameras.a]\nsource = "x.mp4"\n', 2, "cameras.a.source: there is no file"),
        ('[cameras.a]\nsource = "ftp://x"\n', 2, "an address begins with rtsp://"),
        ('[cameras.a]\nsource = "rtsp://${NO_SUCH}@x"\n', 2, "the environment has no NO_SUCH"),
        ('[cameras.a]\nsource = "-"\n', 2, "standard input cannot be watched"),
        ("[defaults]\nsmoth = 1\n" + BASE, 2, "defaults.smoth: no such key; did you mean 'smooth'"),
        ("[defaults]\nsmooth = 2\n" + BASE, 2, "defaults.smooth: is 2; it must be"),
        ('[defaults]\nsource = "x"\n' + BASE, 2, "defaults.source: each camera has its own"),
        ("threads = 0\n" + BASE, 1, "threads: is 0"),
        ('engine = "fast"\n' + BASE, 1, "engine: is 'fast'; it must be one of auto, compiled"),
        (BASE + "[camera]\n", 3, "camera: no such key; did you mean 'cameras'?"),
        (BASE + '[events]\nfile = "no/events"\n', 4, "events.file: there is no folder"),
        (BASE + "[events]\n", 3, "events.file: is missing"),
        (BASE + '[clips]\nfolder = "c"\nbefore = 100\n', 5, "clips.before: is 100"),
        (BASE + '[mqtt]\nhost = "b"\nport = 70000\n', 5, "mqtt.port: is 70000"),
        (
            BASE + '[mqtt]\nhost = "b"\npassword_env = "NO_SUCH"\n',
            5,
            "the environment has no NO_SUCH",
        ),
        (BASE + '[mqtt]\nhost = "b"\npassword_env = "HOME"\n', 5, "no username"),
        (BASE + '[mqtt]\nhost = "b"\nca_file = "config.toml"\n', 5, "is for tls = true"),
        (BASE + '[mqtt]\nhost = "b"\nprefix = "a/#"\n', 5, "must be a topic"),
        (BASE + '[webhook]\nurl = "file:///etc/passwd"\n', 4, "http:// or https://"),
        (
            BASE + '[webhook]\nurl = "http://x"\nkinds = ["begin"]\n',
            5,
            "some of start, update, end",
        ),
        (BASE + '[webhook]\nurl = "http://x:port/"\n', 4, "http:// or https://"),
        (BASE + '[webhook]\nurl = "http://x/\\u00e4"\n', 4, "http:// or https://"),
        (BASE + '[webhook]\nurl = "http://me:s3cret@x/"\n', 4, "webhook.url: has a user in it"),
        (
            BASE + '[webhook]\nurl = "http://x"\nauthorization_env = "BROKEN_LINE"\n',
            5,
            "authorization_env: holds a line break",
        ),
        (
            BASE + '[webhook]\nurl = "http://x"\nauthorization_env = "NO_HEADER"\n',
            5,
            "authorization_env: holds a character that a header cannot",
        ),
        (BASE + '[events]\nfile = "e.jsonl"\nkeep = 0\n', 5, "events.keep: is 0"),
        (BASE + f'model = "{"a" * 300}"\n', 3, "door.model: cannot look there: File name too long"),
        (BASE + f'[clips]\nfolder = "{"a" * 300}/b"\n', 4, "clips.folder: cannot look there"),
        (f'[cameras.door]\nsource = "{"a" * 300}.mp4"\n', 2, "cameras.door.source: cannot look"),
        ('[cameras.door]\nsource = "~nobody-here/x.mp4"\n', 2, "source: is no path: "),
        (BASE + '[command]\ncommand = "ls"\n', 4, "is 'ls'; it must be a list of texts"),
        ("cameras = 3\n", 1, "cameras: is 3; it must be a table"),
    ],
)
def test_what_is_wrong_is_refused_by_line_and_key(
    tmp_path: Path,
    model: Path,
    text: str,
    line: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BROKEN_LINE", "Bearer s3cret\n")
    monkeypatch.setenv("NO_HEADER", "Bearer s3cret \u20ac")
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'config.toml'}:{line}: "), message
    assert said in message
    assert "\n" not in message
    assert "s3cret" not in message


def test_no_toml_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no TOML: .*line 1"):
        read(tmp_path, "[cameras\n")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        Document(tmp_path / "binary.toml")
    with pytest.raises(ConfigError, match="No such file"):
        Document(tmp_path / "none.toml")


def test_lines_of_all_ways_to_write_a_table(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(
        'a.b = 1\n"c d" = """\na.b = 2\nx = 3\n"""\n[t]  # comment\ninner = {x = 1, y = [\n1, 2]}\n'
        "[[list]]\nname = 1\n[[list]]\nname = 2\n[t.deep]\nkey = 0"
    )
    line = Document(path).line
    assert line(("a", "b")) == 1
    assert line(("c d",)) == 2
    assert line(("t",)) == 6
    assert line(("t", "inner", "y", 1)) == 7
    assert line(("list", 0, "name")) == 10
    assert line(("list", 1, "name")) == 12
    assert line(("t", "deep", "key")) == 14
    assert line(("t", "deep", "missing")) == 13
    assert line(("nothing",)) == 1


def test_the_example_is_right_but_for_its_files(tmp_path: Path) -> None:
    done = subprocess.run([*MOVINET, "--example"], capture_output=True, text=True)
    path = tmp_path / "config.toml"
    path.write_text(done.stdout)
    check = subprocess.run([*MOVINET, path, "--check"], capture_output=True, text=True)
    assert (check.returncode, check.stdout) == (0, f"{path} is right: 1 cameras, door\n")


def test_what_the_example_comments_out_is_right_as_well(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every line that is no sentence, uncommented; and each shown default is the default."""
    for name in ("MQTT_PASSWORD", "WEBHOOK_AUTHORIZATION"):
        monkeypatch.setenv(name, "x")
    source = Path(sys.modules["movinet_runtime.watch.config"].__file__ or "")
    lines = source.with_name("example.toml").read_text().splitlines()
    shown = [line.removeprefix("# ") for line in lines]
    keys = {
        "source",
        "password_file",
        "ca_file",
        "tls",
        "port",
        "mean",
        "labels",
        "motion",
        "model",
        "password_hash",
    }
    kept, seen = [], []
    for line, plain in zip(lines, shown, strict=True):
        key = plain.split(" = ")[0]
        if line.startswith("#") and " = " in plain and key not in keys:
            kept.append(plain)
            seen.append(key)
        elif plain.startswith("[") or not line.startswith("#"):
            kept.append(plain)
    text = (
        "\n".join(kept).replace('"clapping"', '"action 0"').replace('"waving hand"', '"action 1"')
    )
    found = read(tmp_path, text)
    assert len(seen) > 45
    said = read(tmp_path, (source.with_name("example.toml")).read_text()).cameras["door"]
    assert set(tomllib.loads(text)) == {
        "threads", "engine", "defaults", "cameras", "events", "clips", "mqtt", "webhook", "command",
        "web",
    }  # fmt: skip
    door = found.cameras["door"]
    for key in ("fit", "smooth", "patience", "min_duration", "cool_down", "update_every",
                "lost_after", "reset_after", "clips", "enabled"):  # fmt: skip
        assert getattr(door, key) == getattr(said, key), key
    assert door.motion == MotionConfig()
    least = read(
        tmp_path,
        BASE + '[events]\nfile="events.jsonl"\n[clips]\nfolder="clips"\n'
        '[mqtt]\nhost="homeassistant.local"\nusername="movinet"\npassword_env="MQTT_PASSWORD"\n'
        '[webhook]\nurl="http://192.168.1.5:8123/api/webhook/movinet"\n'
        'authorization_env="WEBHOOK_AUTHORIZATION"\n[command]\ncommand=["/usr/local/bin/notify-me"]\n'
        "[web]",
    )
    for section in ("lines", "clips", "mqtt", "webhook", "command", "web"):
        assert getattr(found, section) == getattr(least, section), section


def test_the_command_line_says_it_in_one_line(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(BASE + "patiance = 1\n")
    for more in ([], ["--check"]):
        done = subprocess.run([*MOVINET, path, *more], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith(f"movinet: {path}:3: cameras.door.patiance: no such key")
        assert len(done.stderr.splitlines()) == 1
    nothing = subprocess.run(MOVINET, capture_output=True, text=True)
    assert nothing.returncode == 2
    assert "--example" in nothing.stderr
