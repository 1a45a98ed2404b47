"""The model that is there without a download; README.md beside this is its card."""

from pathlib import Path

FOLDER = Path(__file__).parent
WEIGHTS = FOLDER / "figures-a0.npz"
MODEL = FOLDER / "figures-a0-dynamic.tflite"
