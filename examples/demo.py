"""Export A0, draw a clip whose actor changes what it does, label it frame by frame.

Everything goes to ``out/``; ``out/demo.gif`` is the clip with its labels and probability
curves. With ``MOVINET_SHARED`` the weights are the reference's, else untrained: the labels
mean nothing yet, the rest is real.
"""

import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from movinet_models.figures import ACTIONS
from movinet_models.figures.scene import Scene
from movinet_runtime.writer import save_frames

OUT = Path("out")
MOVINET = Path(sys.executable).with_name("movinet")
SEED, SIDE, FPS, SECONDS = 11, 224, 10.0, 4.0
ACTS = ("jumping jacks", "picking up")


def main() -> None:
    OUT.mkdir(exist_ok=True)
    clip, model = OUT / "figure.gif", OUT / "a0-stream-float32.tflite"
    rng = np.random.default_rng(SEED)
    script = [(ACTIONS[act], SECONDS) for act in ACTS]
    scene = replace(Scene.random(rng, SIDE), occluder=None)
    save_frames(clip, scene.frames(script, FPS, rng), FPS)
    print(f"demo: {clip}, a drawn figure: {', then '.join(ACTS)}")
    movinet("export", "a0-stream", "--weights", weights(), "--clip", clip, "--output", model)
    movinet("run", clip, "--model", model, "--top-k", "5", "--save", OUT / "demo.gif")
    print(f"\nsee {OUT / 'demo.gif'}")


def weights() -> str:
    """Choose weights, and say in one line which."""
    shared = os.environ.get("MOVINET_SHARED")
    if shared:
        print("demo: reference weights (random values, so the labels mean nothing)")
        return str(Path(shared) / "reference" / "a0_stream" / "ckpt")
    print("demo: untrained weights, since MOVINET_SHARED is not set")
    return "random:0"


def movinet(*arguments: str | Path) -> None:
    """Run a command line and show it first."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ movinet {shlex.join(words)}", flush=True)
    done = subprocess.run([MOVINET, *words])
    if done.returncode:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
