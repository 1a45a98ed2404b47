"""Export the embedded weights, draw a clip whose actor changes what it does, label it.

Everything goes to ``out/``; ``out/demo.gif`` is the clip with its label and probability
curves under it. Nothing is downloaded.
"""

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from movinet_models.figures import ACTIONS
from movinet_models.figures.scene import Scene
from movinet_runtime.outputs.video import save_frames

OUT = Path("out")
MOVINET = Path(sys.executable).with_name("movinet")
SEED, SIDE, FPS, SECONDS = 11, 224, 10.0, 4.0
ACTS = ("jumping jacks", "picking up")


def main() -> None:
    """Three commands of the toolkit, as a user would give them."""
    OUT.mkdir(exist_ok=True)
    clip, model = OUT / "figure.gif", OUT / "figures-a0-dynamic.tflite"
    rng = np.random.default_rng(SEED)
    script = [(ACTIONS[act], SECONDS) for act in ACTS]
    scene = replace(Scene.random(rng, SIDE), occluder=None)
    save_frames(clip, scene.frames(script, FPS, rng), FPS)
    print(f"demo: {clip}, a drawn figure: {', then '.join(ACTS)}")
    export = ("export", "a0-stream", "--weights", "embedded", "--quantize", "dynamic")
    movinet(*export, "--clip", clip, "--output", model)
    movinet("run", clip, "--model", model, "--top-k", "5", "--save", OUT / "demo.gif")
    print(f"\nsee {OUT / 'demo.gif'}")


def movinet(*arguments: str | Path) -> None:
    """Run a command line and show it first."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ movinet {shlex.join(words)}", flush=True)
    done = subprocess.run([MOVINET, *words])
    if done.returncode:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
