"""The runtime on tflite-runtime 2.14, the interpreter of 32-bit boards and old systems."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from movinet_convert import flatbuffer, metadata, stream_graph
from movinet_convert.parameters import random_weights
from movinet_convert.quantize import TRANSFORMS, Statistics
from movinet_convert.quantize.calibration import moving_noise
from movinet_convert.sources import LoadedWeights
from movinet_models.family import lookup
from movinet_models.variants import variants_of
from movinet_runtime import StreamClassifier

RUNTIME = Path(__file__).parents[1] / "runtime"
NEEDS = ["tflite-runtime==2.14.0", "numpy<2", "pillow", "rich", "typer>=0.16"]
STEPS = """
import sys
import numpy as np
from movinet_runtime import StreamClassifier
from movinet_runtime.errors import ModelFileError

frames = np.load(sys.argv[1])
for path in sys.argv[3:]:
    classifier = StreamClassifier(path, threads=1)
    np.save(path + ".npy", [classifier.step(frame).logits for frame in frames])
try:
    StreamClassifier(sys.argv[2], threads=1)
except ModelFileError as error:
    assert str(error).endswith("half, which tflite-runtime cannot run: export it as float16")
else:
    raise AssertionError("half was loaded")
assert "tflite_runtime" in sys.modules and "ai_edge_litert" not in sys.modules
"""


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="tflite-runtime ends with Python 3.11")
def test_the_same_logits_on_tflite_runtime(tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", *NEEDS], check=True, capture_output=True)
    spec = lookup("a0-stream").at(64)
    loaded = LoadedWeights(random_weights(spec, 12), "random:0", "0" * 64)
    graph, about = stream_graph.build(spec, loaded.weights), metadata.describe(spec, loaded, None)
    frames = list(moving_noise((64, 64), 6))
    np.save(tmp_path / "frames.npy", np.stack(frames))
    written = {variant: tmp_path / f"{variant}.tflite" for variant in variants_of(spec)}
    for variant, path in written.items():
        made = TRANSFORMS[variant](graph, Statistics())
        named = metadata.buffers(metadata.of_variant(about, variant, made), made)
        path.write_bytes(flatbuffer.serialize(made, variant, named))
    half = written.pop("half")
    paths = list(written.values())
    environment = os.environ | {"PYTHONPATH": str(RUNTIME)}
    command: list[str | Path] = [python, "-c", STEPS, tmp_path / "frames.npy", half, *paths]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    for path in paths:
        old = np.load(f"{path}.npy")
        classifier = StreamClassifier(path)
        new = np.stack([classifier.step(frame).logits for frame in frames])
        tolerance = (1e-5 if path.stem.startswith("float") else 0.05) * float(np.ptp(new))
        np.testing.assert_allclose(old, new, atol=tolerance, err_msg=path.stem)
