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

from movinet_models import SOURCES
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
    brought = tmp_path / "mine.tar.gz"
    brought.write_bytes(saved_model())
    done = movinet(cache, "pull", "a0-stream", "--from", brought, "--to", tmp_path / "to")
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path == tmp_path / "to" / "movinet_a0_stream_kaggle.tar.gz"
    assert path.read_bytes() == saved_model()
    assert sha256(saved_model()).hexdigest() in done.stderr
    assert "Apache-2.0" in done.stderr
    assert "movinet export a0-stream -o a0.tflite" in done.stderr

    again = json.loads(movinet(cache, "pull", "a0-stream", "--json").stdout)
    assert again["sha256"] == sha256(saved_model()).hexdigest()
    assert again["source"]["gate"] == "fifth"
    assert Path(again["path"]).is_relative_to(cache)


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
