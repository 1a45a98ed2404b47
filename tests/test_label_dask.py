"""movinet label on a real Dask cluster: a scheduler and two workers on loopback."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pyarrow.parquet
import pytest

from movinet_runtime import WorkersError
from movinet_runtime.facts import facts
from movinet_runtime.workers import Lost, results
from tests import labelling
from tests.labelling import archive, cluster, killed_at, label
from tests.small import small_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "small.tflite")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archive(tmp_path_factory.mktemp("archive") / "films", 60, 4)


@pytest.fixture(scope="module")
def undisturbed(films: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What processes of this machine make of the films."""
    output = tmp_path_factory.mktemp("local") / "labels.jsonl"
    label(films, "-o", output, "-m", model, "--on", "local:2")
    return output.read_bytes()


def test_the_same_as_local_and_after_a_workers_death(
    films: Path, model: Path, undisturbed: bytes, tmp_path: Path
) -> None:
    with cluster(tmp_path) as (scheduler, running):
        output, table = tmp_path / "labels.jsonl", tmp_path / "labels.parquet"
        label(films, "-o", output, "-m", model, "--on", scheduler)
        assert output.read_bytes() == undisturbed
        label(films, "-o", table, "-m", model, "--on", scheduler)
        other = tmp_path / "local.parquet"
        label(films, "-o", other, "-m", model)
        assert pyarrow.parquet.read_table(table) == pyarrow.parquet.read_table(other)

        near = (os.path.relpath(films), "-m", os.path.relpath(model))  # not from a worker's folder
        assert label(*near, "-o", tmp_path / "near.jsonl", "--on", scheduler)["failed"] == 4

        def kill_a_worker(_: int) -> None:
            os.kill(running[1].pid, signal.SIGKILL)

        broken = tmp_path / "broken.jsonl"
        journal = tmp_path / "broken.jsonl.journal"
        arguments = (films, "-o", broken, "-m", model, "--on", scheduler)
        done = killed_at(5, journal, *arguments, who=kill_a_worker)
        assert done.returncode == 0, done.stderr
        assert broken.read_bytes() == undisturbed


def test_throughput_is_measured(model: Path, tmp_path: Path) -> None:
    clip = labelling.film(tmp_path / "clip.mp4", 3.0, fps=12, seed=1)
    command = [sys.executable, "-m", "movinet_benchmarks.scale", os.path.relpath(model), "--json"]
    command += ["--clip", str(clip), "--minutes", "0.1", "--repeats", "1"]
    done = subprocess.run(
        [*command, "--workers", "1", "--dask", "1"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["where"], row["workers"]) for row in rows] == [("local", 1), ("dask", 1)]
    for row in rows:
        assert row["failed"] == 0
        assert 0 < row["times_real_time"] <= 1.02 * row["times_real_time_seen"]  # rounded seconds
        stages = sum(row["ms_a_second_seen"].values())
        assert 0 < stages < 1000 / row["times_real_time_seen"]


def test_the_scheduler_goes(films: Path, model: Path, undisturbed: bytes, tmp_path: Path) -> None:
    with cluster(tmp_path) as (scheduler, running):

        def kill_the_scheduler(_: int) -> None:
            os.kill(running[0].pid, signal.SIGKILL)

        output = tmp_path / "labels.jsonl"
        journal = tmp_path / "labels.jsonl.journal"
        arguments = (films, "-o", output, "-m", model)
        done = killed_at(5, journal, *arguments, "--on", scheduler, who=kill_the_scheduler)
    assert done.returncode == 2
    said = done.stderr
    assert len(said.splitlines()) == 1, said
    assert "is gone" in said
    assert "--resume goes on" in said
    rows = output.read_bytes().splitlines()
    assert rows
    assert set(rows) <= set(undisturbed.splitlines())
    about = label(*arguments, "--resume")
    assert about["skipped_pieces"] >= 5
    assert output.read_bytes() == undisturbed


def test_workers_are_checked_and_paths_mapped(films: Path, model: Path, tmp_path: Path) -> None:
    with cluster(tmp_path, 1) as (scheduler, _):
        other = tmp_path / "elsewhere"
        other.symlink_to(films)
        (tmp_path / "models").symlink_to(model.parent)
        output, local = tmp_path / "mapped.jsonl", tmp_path / "local.jsonl"
        some = (films / "0000.mp4", films / "0003.mp4")
        maps = ("--path-map", f"{films}={other}", "--path-map", f"{model.parent}={tmp_path}/models")
        label(*some, "-o", output, "-m", model, "--on", scheduler, *maps)
        label(*some, "-o", local, "-m", model)
        assert output.read_bytes() == local.read_bytes()

        gone = ("--path-map", f"{model.parent}=/nowhere")
        refused = label(*some, "-o", output, "-m", model, "--on", scheduler, *gone, code=2)
        (line,) = refused["said"].splitlines()
        assert "the model with sha256 not there" in line
        expected = {**facts(str(model)), "numpy": "0.1"}
        with pytest.raises(WorkersError, match=r"numpy .*, here it is 0\.1"):
            list(
                results(str(scheduler), labelling.double, [1], partial(facts, str(model)), expected)
            )

        found = dict(results(str(scheduler), labelling.double, range(5)))
        assert found == {i: 2 * i for i in range(5)}


def test_a_task_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    with cluster(tmp_path, 6) as (scheduler, _):
        found = dict(results(str(scheduler), labelling.deadly, range(8)))
        assert isinstance(found.pop(3), Lost)
        assert found == {i: 2 * i for i in range(8) if i != 3}


def test_no_scheduler_is_one_line(films: Path, model: Path, tmp_path: Path) -> None:
    some = (films / "0000.mp4", "-o", tmp_path / "labels.jsonl", "-m", model)
    gone = label(*some, "--on", "dask://127.0.0.1:1", code=2)
    (line,) = gone["said"].splitlines()
    assert "no Dask scheduler answers at dask://127.0.0.1:1" in line
    file = tmp_path / "file.json"
    file.write_text("{}")
    assert "no scheduler file" in label(*some, "--on", file, code=2)["said"]
    assert not (tmp_path / "labels.jsonl").exists()
