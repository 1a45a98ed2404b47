"""``movinet pull`` and ``movinet models --sources`` as a user calls them."""

import json
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest

from movinet_convert.parameters import random_weights
from movinet_models import SOURCES
from movinet_models.family import lookup
from tests.pth import save_weights
from tests.weights_server import MODEL, Reply, WeightsServer, parts, saved_model

INTERRUPTIBLE = """
import sys
from movinet_models import SOURCES, Source
from movinet_runtime.cli.main import main
url = sys.argv.pop()
SOURCES["a0-stream"] = (Source("kaggle", url, "a0.tar.gz", "kinetics-600", "MIT", "fifth"),)
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_command_goes_on_next_time(
    server: WeightsServer, cache: Path, number: signal.Signals
) -> None:
    body = saved_model()
    server.replies = {"/a": Reply(body, piece=2_000, pause=0.05)}
    command = [sys.executable, "-c", INTERRUPTIBLE, "pull", MODEL, f"{server.url}/a"]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not sum(parts(cache)):
        time.sleep(0.02)
    first.send_signal(number)
    _, told = first.communicate(timeout=30)
    assert first.returncode in (130, 128 + signal.SIGTERM)
    assert "Traceback" not in told
    (kept,) = parts(cache)
    server.replies = {"/a": Reply(body)}
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).read_bytes() == body
    assert server.ranges() == [None, f"bytes={kept}-"]


def movinet(cache: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "movinet_runtime.cli.main", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"MOVINET_CACHE": str(cache), "COLUMNS": "80"},
    )


def test_the_command_takes_a_file_and_says_what_comes_next(tmp_path: Path, cache: Path) -> None:
    spec = lookup("a0-stream")
    brought = save_weights(random_weights(spec, 600), tmp_path / "mine.pth")
    digest = sha256(brought.read_bytes()).hexdigest()
    done = movinet(cache, "pull", "a0-stream", "--from", brought, "--to", tmp_path / "to")
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path == tmp_path / "to" / "modelA0_stream_statedict_v3.pth"
    assert path.read_bytes() == brought.read_bytes()
    assert digest in done.stderr
    assert "MIT" in done.stderr
    assert "movinet export a0-stream -o a0.tflite" in done.stderr

    again = json.loads(movinet(cache, "pull", "a0-stream", "--json").stdout)
    assert again["sha256"] == digest
    assert again["source"]["gate"] == "fifth"
    assert Path(again["path"]).is_relative_to(cache)

    # What does not fit leaves the file that was taken before.
    for classes, model, message in (
        (600, "a1-stream", "does not fit a0-stream"),
        (7, "a0-stream", "7 classes"),
    ):
        wrong = save_weights(random_weights(lookup(model), classes), tmp_path / "wrong.pth")
        done = movinet(cache, "pull", "a0-stream", "--from", wrong)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    assert json.loads(movinet(cache, "pull", "a0-stream", "--json").stdout)["sha256"] == digest


@pytest.mark.parametrize(
    "arguments",
    [
        ("pull", "a9-stream"),
        ("pull", "t0-stream"),
        ("pull", "a0-stream", "--dataset", "imagenet"),
        ("pull", "a0-stream", "--source", "nowhere"),
        ("pull", "a0-stream", "--from", "nowhere.tar.gz"),
        ("pull", "a0-stream", "--from", "nowhere.tar.gz", "--again"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(cache: Path, arguments: tuple[str, ...]) -> None:
    done = movinet(cache, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert sum(line.startswith("movinet: ") for line in done.stderr.splitlines()) == 1


def test_all_sources_are_listed(cache: Path) -> None:
    shown = movinet(cache, "models", "--sources")
    assert shown.returncode == 0, shown.stderr
    listed = json.loads(movinet(cache, "models", "--sources", "--json").stdout)["sources"]
    assert listed["t0-stream"] == []
    assert listed.keys() >= SOURCES.keys()
    for rows in SOURCES.values():
        for row in rows:
            assert row.url in shown.stdout  # not folded
