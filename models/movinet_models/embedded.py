"""The model that comes with the package: twelve actions of drawn figures, no download.

It is there to try things out, offline. For real video, export the published weights.
"""

from pathlib import Path

FOLDER = Path(__file__).parent / "data" / "figures"
MODEL = FOLDER / "a0-figures-int8.tflite"
WEIGHTS = FOLDER / "a0-figures.npz"
