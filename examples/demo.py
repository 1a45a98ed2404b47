"""The whole way once: weights, an exported file, labels on a clip, as a user would type it.

With ``$MOVINET_SHARED`` it takes the reference weights and a real video from there;
without, untrained weights and a rendered clip.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw

OUT = Path("out")
MOVINET = Path(sys.executable).with_name("movinet")


def main() -> None:
    OUT.mkdir(exist_ok=True)
    weights, clip = sources()
    model = OUT / "a0-stream-float32.tflite"
    movinet("export", "a0-stream", "--weights", weights, "--clip", clip, "--output", model)
    movinet("run", clip, "--model", model, "--top-k", "5")


def sources() -> tuple[str, Path]:
    """Weights and a clip, and one line that says which."""
    shared = os.environ.get("MOVINET_SHARED")
    if shared:
        print("demo: reference weights (random values, so the labels mean nothing) and a real clip")
        weights = Path(shared) / "reference" / "a0_stream" / "ckpt"
        return str(weights), Path(shared) / "clips" / "carving_ice.mp4"
    print("demo: untrained weights and a rendered clip, since MOVINET_SHARED is not set")
    return "random:0", render(OUT / "ball.gif")


def render(path: Path, frames: int = 30, side: int = 172) -> Path:
    """A bouncing ball at 10 frames a second."""
    pictures = []
    for i in range(frames):
        picture = Image.new("RGB", (side, side), (30, 40, 60))
        x, y = 20 + 4 * i, side - 30 - abs((9 * i) % 200 - 100)
        ImageDraw.Draw(picture).ellipse((x - 15, y - 15, x + 15, y + 15), fill=(240, 170, 40))
        pictures.append(picture)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=100)
    return path


def movinet(*arguments: str | Path) -> None:
    """Run a command line and show it first."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ movinet {shlex.join(words)}", flush=True)
    done = subprocess.run([MOVINET, *words])
    if done.returncode:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
