"""``--on`` of accuracy, verify and export: the same result as in one process."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from movinet_convert import flatbuffer, stream_graph
from movinet_convert.export import _statistics
from movinet_convert.parameters import random_weights
from movinet_convert.quantize import TRANSFORMS, Statistics
from movinet_convert.quantize.calibration import Clips, drawn_clips, second_moments
from movinet_convert.sources import load_weights
from movinet_models.family import lookup
from movinet_models.figures import drawn
from movinet_runtime.outputs.video import save_frames
from movinet_runtime.workers import in_order
from tests.labelling import cluster, label
from tests.small import small_model

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]
NOWHERE = "--on is local, a number of processes"


def movinet(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [*MOVINET, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight drawn clips of two classes, and one that is none."""
    folder = tmp_path_factory.mktemp("clips")
    for i, frames in enumerate(drawn("train", 8, (64, 64), 5.0)):
        place = folder / f"action {i % 2}" / f"{i}.gif"
        place.parent.mkdir(exist_ok=True)
        save_frames(place, frames[:6], 5.0)
    (folder / "action 1" / "broken.gif").write_bytes(b"GIF89a")
    return folder


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with cluster(tmp_path_factory.mktemp("cluster")) as (file, _):
        yield file


@pytest.fixture(scope="module")
def judged(clips: Path, stream_model: Path) -> tuple[list[object], str]:
    """A command in all modes, runs shorter than the clips, and what it prints in one process."""
    command: list[object] = ["accuracy", stream_model, "--data", clips, "--stream", 3, "--json"]
    for mode in ("clips", "shuffled", "single", "stream"):
        command += ["--mode", mode]
    return command, movinet(*command).stdout


def test_accuracy_is_the_same_on_workers(judged: tuple[list[object], str]) -> None:
    command, alone = judged
    done = movinet(*command, "--on", 2)
    assert done.stdout == alone
    assert "skipped: " in done.stderr
    found = json.loads(alone)
    assert [row["clips"] for row in found] == [8] * 4
    assert [row["skipped"] for row in found] == [1] * 4
    without_stream = movinet(*command[:-2], "--on", 2).stdout  # a clip a task
    assert json.loads(without_stream) == found[:3]


def test_accuracy_is_the_same_on_dask(
    judged: tuple[list[object], str], clips: Path, scheduler: Path, tmp_path: Path
) -> None:
    command, alone = judged
    there = tmp_path / "there"
    there.symlink_to(clips)
    done = movinet(*command, "--on", scheduler, "--path-map", f"{clips}={there}")
    assert done.stdout == alone
    assert str(there) in done.stderr  # where the worker could not read it
    refused = movinet(*command, "--on", scheduler, "--path-map", f"{command[1]}=/no", code=2)
    assert "the model with sha256 not there" in refused.stderr.splitlines()[-1]


def test_a_bad_place_is_one_line(judged: tuple[list[object], str]) -> None:
    for options, message in (
        (["--on", "moon"], NOWHERE),
        (["--on", "2", "--path-map", "a=b"], "--path-map is for workers of a cluster"),
    ):
        (line,) = movinet(*judged[0], *options, code=2).stderr.splitlines()
        assert message in line


def test_results_wait_for_their_turn() -> None:
    assert list(in_order([(2, "c"), (0, "a"), (3, "d"), (1, "b")])) == ["a", "b", "c", "d"]


def test_label_names_classes_from_a_file(clips: Path, tmp_path: Path) -> None:
    model, names = small_model(tmp_path / "m.tflite", labels=None), tmp_path / "names.txt"
    output = tmp_path / "labels.jsonl"
    film = clips / "action 0" / "0.gif"
    arguments = (film, "-o", output, "-m", model, "--labels", names, "--on", 1)
    names.write_text("red\ngreen\nblue\n")
    label(*arguments)
    assert {json.loads(line)["label"] for line in output.read_text().splitlines()} <= {
        "red",
        "green",
        "blue",
    }
    names.write_text("rot\ngrün\nblau\n")
    assert label(*arguments, "--resume")["skipped_pieces"] == 0
    names.write_text("red\n")
    assert "1 labels" in label(*arguments, code=2)["said"]


def test_verify_is_the_same_on_workers(clips: Path, tmp_path: Path) -> None:
    spec = lookup("t0-stream").at(64)
    graph = stream_graph.build(spec, random_weights(spec, 6))
    files = [tmp_path / f"{variant}.tflite" for variant in ("float32", "dynamic", "dynamic-si8")]
    for path in files:
        content = flatbuffer.serialize(TRANSFORMS[path.stem](graph, Statistics()), path.stem, {})
        path.write_bytes(content)
    command: list[object] = ["verify", *files[1:], "--against", files[0], "--long-frames", 40]
    command += ["--json", "--clips", clips / "action 0" / "0.gif"]
    command += ["--clips", clips / "action 1" / "1.gif"]
    alone = movinet(*command).stdout
    assert [len(row["states"]) > 0 for row in json.loads(alone)] == [False, True]
    assert movinet(*command, "--on", 2).stdout == alone
    broken = clips / "action 1" / "broken.gif"
    (line,) = movinet(*command, "--clips", broken, "--on", 1, code=2).stderr.splitlines()
    assert "broken.gif" in line


def test_calibration_is_the_same_on_workers(clips: Path) -> None:
    """All that a file depends on; rounding and Keras would take a minute."""
    some = [str(clips / "action 0" / f"{i}.gif") for i in (0, 2, 4)]
    spec = lookup("a0lite-stream").at(32)
    loaded = load_weights("random", spec)
    graph = stream_graph.build(spec, loaded.weights, loaded.hard_sigmoid)
    alone, found = (
        _statistics(graph, spec, loaded, {"dynamic", "int8"}, some, lambda _: None, where)[0]
        for where in (None, "2")
    )
    assert len(found.ranges) > 10
    assert found.ranges == alone.ranges
    assert len(found.moments) > 10
    assert found.moments.keys() == alone.moments.keys()
    for name, moments in alone.moments.items():
        np.testing.assert_array_equal(found.moments[name], moments)


def test_calibration_needs_no_disk_of_ours(scheduler: Path) -> None:
    spec = lookup("t0-stream").at(32)
    graph = stream_graph.build(spec, random_weights(spec, 4))
    seen = drawn_clips((32, 32), 5.0)
    seen = Clips([clip[:4] for clip in seen.clips[:3]], seen.names[:3], [])
    alone = second_moments(graph, seen)
    found = second_moments(graph, seen, where=str(scheduler))
    assert alone.keys() == found.keys()
    for name, moments in alone.items():
        np.testing.assert_array_equal(found[name], moments)


def test_a_place_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    command = ["export", "t0-stream", "-w", "random", "-o", tmp_path / "x.tflite", "-q"]
    for options, message in (
        (["dynamic", "--on", "moon"], NOWHERE),
        (["float32", "--on", "2"], "--on is for quantized variants"),
        (["dynamic", "--calibrate", "none", "--on", "2"], "--on is for calibration"),
    ):
        (line,) = movinet(*command, *options, code=2).stderr.splitlines()
        assert message in line
