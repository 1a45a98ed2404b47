"""The drawn data set: deterministic, balanced, and its reversed pairs really are reversed."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from movinet_models.figures import ACTIONS, IDLE, LABELS, NOTHING, REVERSED_PAIRS, clips, render
from movinet_models.figures.body import Body, joints
from movinet_models.figures.scene import Scene
from movinet_models.labels import kinetics600
from movinet_runtime import open_frames

SIDE = 48


def test_there_are_enough_actions() -> None:
    assert len(ACTIONS) >= 12
    assert sorted([*ACTIONS, NOTHING]) == LABELS
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


@pytest.mark.parametrize("label", [*ACTIONS, *IDLE])
def test_limbs_keep_their_length(label: str) -> None:
    """Whatever a pose asks for, bones neither stretch nor break."""
    phase = np.linspace(0, 1, 50, endpoint=False)
    for seed in range(5):
        body = Body.random(np.random.default_rng(seed))
        at = joints(body, (ACTIONS | IDLE)[label].move(body, phase))
        for side in ("left", "right"):
            for a, b, length in (
                ("hip", "knee", body.thigh),
                ("knee", "ankle", body.shin),
                ("shoulder", "elbow", body.upper_arm),
                ("elbow", "wrist", body.forearm),
            ):
                bone = np.linalg.norm(at[f"{side}_{a}"] - at[f"{side}_{b}"], axis=1)
                np.testing.assert_allclose(bone, length, rtol=1e-6)


def test_nothing_is_done_in_all_its_ways_and_nobody_stays_where_they_walk_by() -> None:
    idle = [clip for clip in clips("test", 10 * len(LABELS)) if clip.label == NOTHING]
    assert [clip.action for clip in idle] == 2 * [*IDLE.values()]

    def drawn(kind: str) -> np.ndarray:
        """How much of each column of pixels anyone covers over 4 seconds, [frames, side]."""
        scene = replace(
            Scene.random(np.random.default_rng(4), SIDE),
            noise=0, flicker=0, pan=(0, 1, 0), passer=None, occluder=None, speed=1,
        )  # fmt: skip
        with_, without = (
            np.stack(list(scene.frames([(act, 4)], 5.0, np.random.default_rng(0)))).astype(int)
            for act in (IDLE[kind], replace(IDLE[kind], present=False))
        )
        covered = np.abs(with_ - without).sum(axis=-1) > 0
        return np.asarray(covered.mean(axis=1))

    assert not drawn("an empty scene").any()
    middles = [columns.argmax() for columns in drawn("walking by") if columns.any()]
    assert max(middles) - min(middles) > SIDE / 2
    assert not drawn("walking by").all(axis=1).any()
    still = [columns.argmax() for columns in drawn("standing")]
    assert max(still) - min(still) < SIDE / 8


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
    options = ["--train", "13", "--validation", "0", "--test", "13", "--side", "64"]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "26 clips" in done.stderr
    files = sorted((tmp_path / "set").rglob("*.mp4"))
    assert len(files) == 26
    assert {file.parent.name for file in files} == set(LABELS)
    frames = list(open_frames(files[0]).sampled(5))
    assert len(frames) == 16
    assert frames[0].image.shape == (64, 64, 3)
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert "26 clips in" in done.stderr
    assert "0 new" in done.stderr
    assert not list((tmp_path / "set").rglob(".*"))
