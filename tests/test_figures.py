"""The drawn data set: deterministic, balanced, and its reversed pairs really are reversed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from movinet_models.figures import ACTIONS, LABELS, REVERSED_PAIRS, clips, render
from movinet_models.figures.body import Body, joints
from movinet_models.figures.scene import Scene
from movinet_models.labels import kinetics600
from movinet_runtime import open_frames

SIDE = 48


def test_there_are_enough_actions() -> None:
    assert len(LABELS) == len(ACTIONS) >= 12
    assert len(REVERSED_PAIRS) >= 3
    assert len(set(LABELS) & set(kinetics600())) >= 4
    counts = dict.fromkeys(LABELS, 0)
    for clip in clips("train", 5 * len(LABELS)):
        counts[clip.label] += 1
    assert set(counts.values()) == {5}


def test_a_clip_is_its_seed() -> None:
    (first, second), (other, _) = clips("train", 2), clips("test", 2)
    frames = render(first, side=SIDE)
    assert np.shape(frames) == (16, SIDE, SIDE, 3)
    np.testing.assert_array_equal(frames, render(first, side=SIDE))
    assert not np.array_equal(frames[0], frames[1])
    for another in (second, other):
        assert not np.array_equal(frames[0], render(another, side=SIDE)[0])


@pytest.mark.parametrize("label", LABELS)
def test_limbs_keep_their_length(label: str) -> None:
    """Whatever a pose asks for, bones neither stretch nor break."""
    phase = np.linspace(0, 1, 50, endpoint=False)
    for seed in range(5):
        body = Body.random(np.random.default_rng(seed))
        at = joints(body, ACTIONS[label].move(body, phase))
        for side in ("left", "right"):
            for a, b, length in (
                ("hip", "knee", body.thigh),
                ("knee", "ankle", body.shin),
                ("shoulder", "elbow", body.upper_arm),
                ("elbow", "wrist", body.forearm),
            ):
                bone = np.linalg.norm(at[f"{side}_{a}"] - at[f"{side}_{b}"], axis=1)
                np.testing.assert_allclose(bone, length, rtol=1e-6)


@pytest.mark.parametrize(("forth", "back"), [*REVERSED_PAIRS.items()])
def test_reversed_pairs_show_the_same_pictures_in_the_other_order(forth: str, back: str) -> None:
    """One whole round, from the same phase: no frame of either is missing in the other."""

    class Phase(np.random.Generator):  # random() is asked once for each action
        def random(self, *_: object) -> float:  # type: ignore[override]
            return 0.3

    action, rounds = ACTIONS[forth], 10
    scene = replace(
        Scene.random(np.random.default_rng(4), SIDE),
        noise=0,
        flicker=0,
        pan=(0, 1, 0),
        passer=None,
        speed=1,
    )
    standing = {name: replace(ACTIONS[name], travels=0) for name in (forth, back)}
    fps, seconds = rounds / action.seconds, action.seconds
    shown = {
        name: list(scene.frames([(act, seconds)], fps, Phase(np.random.PCG64(0))))
        for name, act in standing.items()
    }
    for i in range(rounds):
        np.testing.assert_array_equal(shown[back][i], shown[forth][-i % rounds])
    assert not np.array_equal(shown[forth][1], shown[back][1])


def test_files_are_made_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "movinet_runtime.cli.main", "figures", str(tmp_path / "set")]
    options = ["--train", "12", "--validation", "0", "--test", "12", "--side", "64"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "24 clips" in done.stderr
    files = sorted((tmp_path / "set").rglob("*.mp4"))
    assert len(files) == 24
    assert {file.parent.name for file in files} == set(LABELS)
    frames = list(open_frames(files[0]).sampled(5))
    assert len(frames) == 16
    assert frames[0].image.shape == (64, 64, 3)
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert "24 clips in" in done.stderr
    assert "0 new" in done.stderr
    assert not list((tmp_path / "set").rglob(".*"))
