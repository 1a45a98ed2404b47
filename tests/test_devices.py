"""Trainings on several devices and machines, against one device on the same data."""

import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from movinet_convert.training.batches import Batches
from movinet_convert.training.devices import Devices
from movinet_convert.training.fit import some_batches
from movinet_convert.training.reading import Augmentation
from movinet_models.clips import find_clips
from movinet_models.figures import LABELS, clips, render
from movinet_runtime.errors import UsageError
from movinet_runtime.outputs.video import save_frames

OPTIONS = [
    *("-m", "a0lite-stream", "-w", "random:0", "--resolution", "32", "--frames", "4"),
    *("--batch", "4", "--epochs", "1", "--freeze", "1", "--validation", "0.25", "--ema", "0.9"),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, eight clips of each."""
    folder = tmp_path_factory.mktemp("clips")
    for i, clip in enumerate(clips("train", 8 * len(LABELS))):
        if clip.label in LABELS[:3]:
            (folder / clip.label).mkdir(exist_ok=True)
            save_frames(folder / clip.label / f"{i}.mp4", render(clip, frames=5, side=40), 5)
    return folder


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one device comes to."""
    found = tmp_path_factory.mktemp("alone") / "steps.npz"
    finish(steps(data, found))
    return found


def steps(data: Path, output: Path, cards: str = "1", **more: str) -> "subprocess.Popen[str]":
    return begin(["-m", "tests.some_steps", data, output, cards], more)


def train(data: Path, output: Path, *options: str, **more: str) -> "subprocess.Popen[str]":
    command = ["-m", "movinet_runtime.cli.main", "train", data, "-o", output]
    return begin([*command, *OPTIONS, *options], more)


def begin(arguments: list[Any], more: dict[str, str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=Path(__file__).parents[1],
        env=os.environ | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: "subprocess.Popen[str]", code: int = 0) -> list[str]:
    """Wait for processes that end with this code, and return what they say."""
    said = [process.communicate(timeout=300)[1] for process in processes]
    for process, text in zip(processes, said, strict=True):
        assert process.returncode == code, text
    return said


def cluster(machines: int) -> list[dict[str, str]]:
    """Return TF_CONFIG for each of some processes on free ports of this machine."""
    sockets = [socket.socket() for _ in range(machines)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    tasks = [{"type": "worker", "index": i} for i in range(machines)]
    return [{"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": t})} for t in tasks]


def same(one: Path, other: Path) -> None:
    """Compare the losses of four steps, the norms' statistics after them, and the gradient of
    the first as the optimizer has it."""
    with np.load(one) as first, np.load(other) as second:
        np.testing.assert_allclose(first["answers"], second["answers"], rtol=1e-5)
        gradients = [name for name in first.files if name.startswith("gradient")]
        scale = max(float(np.abs(first[name]).max()) for name in gradients)
        for name in gradients:
            np.testing.assert_allclose(first[name], second[name], atol=1e-5 * scale, rtol=1e-3)
        for name in (name for name in first.files if name.startswith("statistics")):
            np.testing.assert_allclose(first[name], second[name], rtol=1e-3, atol=1e-6)


def test_two_cards_train_what_one_does(data: Path, alone: Path, tmp_path: Path) -> None:
    finish(steps(data, tmp_path / "cards.npz", cards="2"))
    same(alone, tmp_path / "cards.npz")


def test_two_machines_train_what_one_does(data: Path, alone: Path, tmp_path: Path) -> None:
    files = [tmp_path / "0.npz", tmp_path / "1.npz"]
    finish(*(steps(data, file, **where) for file, where in zip(files, cluster(2), strict=True)))
    assert [file.exists() for file in files] == [True, False]
    same(alone, files[0])


def test_the_command_on_two_machines(data: Path, tmp_path: Path) -> None:
    """Both say the same of an epoch; the first one writes."""
    outputs = [tmp_path / "0.keras", tmp_path / "1.keras"]
    both = zip(outputs, cluster(2), strict=True)
    said = finish(*(train(data, output, **where) for output, where in both))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.keras", "0.report"]
    epochs = [next(x for x in text.splitlines() if x.startswith("epoch 1/1")) for text in said]
    assert epochs[0] == epochs[1]


def test_machines_that_were_told_different_things(data: Path, tmp_path: Path) -> None:
    seeds = zip(range(2), cluster(2), strict=True)
    output = tmp_path / "m.keras"
    said = finish(*(train(data, output, "--seed", str(i), **w) for i, w in seeds), code=2)
    assert all("machine 1 differs from machine 0 in clips, plan" in text for text in said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "value",
    [
        "{",
        "[]",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_damaged_cluster_is_one_line(data: Path, tmp_path: Path, value: str) -> None:
    (said,) = finish(train(data, tmp_path / "m.keras", TF_CONFIG=value), code=2)
    assert "TF_CONFIG must be like {" in said
    assert "Traceback" not in said


def test_lost_norms_are_measured_on_the_same_clips_everywhere(data: Path) -> None:
    """A start from folded weights measures statistics before the first step: on whole batches."""
    found = find_clips(data)
    labels = sorted({clip.label for clip in found})
    make = partial(Batches, found, labels, 5.0, 4, 32, 4, augmentation=Augmentation())
    wanted = list(some_batches(make()))
    assert len(wanted[0][0]) == 4
    for machine in range(2):
        for one, other in zip(wanted, some_batches(make(part=(machine, 2))), strict=True):
            np.testing.assert_array_equal(one[0], other[0])


def test_a_batch_is_shared_out_equally() -> None:
    devices = Devices(SimpleNamespace(num_replicas_in_sync=3))
    assert [devices.divisible(n) for n in (3, 8, 9)] == [3, 6, 9]
    with pytest.raises(UsageError, match="3 devices cannot share out a batch of 2 clips"):
        devices.divisible(2)
