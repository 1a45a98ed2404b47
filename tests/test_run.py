"""movinet run's outputs: complete files or none, and options that do what they say."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from movinet_runtime import open_frames
from movinet_runtime.errors import OutputError
from movinet_runtime.outputs.video import save_frames

MOVINET = [sys.executable, "-m", "movinet_runtime.cli.main"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [*MOVINET, "run", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300)


def test_every_output_at_once(
    stream_model: Path, write_video: Callable[..., Path], tmp_path: Path
) -> None:
    clip = write_video(frames=20, fps=10)
    names = ("a.csv", "a.mp4", "a.png", "a.npz")
    table, video, plot, state = (tmp_path / name for name in names)
    outputs = ("--csv", table, "--save", video, "--plot", plot, "--save-state", state, "--stats")
    done = run(clip, "-m", stream_model, "-k", 3, "--json", *outputs)
    assert done.returncode == 0, done.stderr
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    frames = [json.loads(line) for line in done.stdout.splitlines()][:-1]
    assert len(rows) == 30
    for i, frame in enumerate(frames):
        for rank, top in enumerate(frame["top"]):
            row = rows[3 * i + rank]
            assert (int(row["frame"]), row["label"]) == (i, top["label"])
            assert float(row["probability"]) == pytest.approx(top["probability"], abs=1e-6)
    assert len(list(open_frames(video).sampled(5))) == 10
    with Image.open(plot) as picture:
        assert picture.width > 500
    stats = json.loads(done.stderr)
    assert stats["frames"] == 10
    assert set(stats["milliseconds"]) == {"decode", "resize", "infer", "output"}

    again = run(clip, "-m", stream_model, "--json", "--load-state", state)
    assert json.loads(again.stdout.splitlines()[0])["frame"] == 10
    assert run(clip, "-m", stream_model, "--load-state", table).returncode == 2


def test_labels_and_events(stream_model: Path, write_video: Callable[..., Path]) -> None:
    clip = write_video(frames=20, fps=10)
    best = json.loads(run(clip, "-m", stream_model, "--json").stdout.splitlines()[-1])["top"]
    name = best[0]["label"]
    only = run(clip, "-m", stream_model, "--json", "--allow", best[1]["label"])
    assert {
        top["label"] for line in only.stdout.splitlines() for top in json.loads(line)["top"]
    } == {best[1]["label"]}
    without = run(clip, "-m", stream_model, "--json", "--deny", name, "-k", 12)
    assert name not in without.stdout
    found = run(clip, "-m", stream_model, "--events", "--json", "--on", 0.01, "--allow", name)
    kinds = [json.loads(line)["kind"] for line in found.stdout.splitlines()]
    assert kinds == ["start", "end"]
    wrong = run(clip, "-m", stream_model, "--allow", "actoin 1")
    assert wrong.returncode == 2
    assert "did you mean" in wrong.stderr


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """A file system of 256 KiB, where it may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    try:
        rng = np.random.default_rng(0)
        noise = [rng.integers(0, 256, (240, 320, 3), np.uint8) for _ in range(40)]
        for name in ("a.mp4", "a.gif"):
            path = disk / name
            path.write_bytes(b"before")
            with pytest.raises(OutputError, match=f"cannot write .*{name}"):
                save_frames(path, noise, 5, quality=1)
            assert path.read_bytes() == b"before"
            assert sorted(p.name for p in disk.iterdir()) == [name]
            path.unlink()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_two_writers_of_one_name_leave_a_whole_file(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\n"
        "from movinet_runtime.outputs.video import save_frames\n"
        "frames = [np.full((64, 64, 3), int(sys.argv[2]), np.uint8)] * 50\n"
        "save_frames(Path(sys.argv[1]), frames, 10)\n"
    )
    path = tmp_path / "same.mp4"
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(path), shade]) for shade in ("40", "200")
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    frames = [frame.image.mean() for frame in open_frames(path)]
    assert len(frames) == 50
    assert max(frames) - min(frames) < 5
    assert [p.name for p in tmp_path.iterdir()] == ["same.mp4"]


def test_no_model_and_no_format(stream_model: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    done = run(tmp_path / "a.png", "-m", stream_model, "--save", tmp_path / "a.xyz")
    assert done.returncode == 2
    assert "try .mp4 or .gif" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    missing = run(tmp_path / "a.png", "-m", tmp_path / "none.tflite")
    assert missing.returncode == 2
    assert "cannot read the model" in missing.stderr
