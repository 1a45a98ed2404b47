"""Runs inside the emulated board: steps a model over frames and marks the end of each.

Arguments: model, frames (.npy, uint8 [n, h, w, 3]), engine, results (.npz), horizon (0: none).
"""

import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.engines import open_engine
from movinet_runtime.model_file import ModelFile
from movinet_runtime.tensors import FRAME_COUNT


def main(model: str, frames: str, engine: str, results: str, horizon: str) -> None:
    """Step over all frames on one thread, from zero states."""
    opened = open_engine(ModelFile.read(Path(model)), 1, engine)
    session = opened.session()
    images = [of_each_stream(frame, opened.image.shape[0]) for frame in np.load(frames)]
    logits = []
    os.getsid(0)
    for index, image in enumerate(images):
        if index == int(horizon) > 0:
            session.hold(FRAME_COUNT, np.full((1, 1, 1, 1), index - 1, np.float32))
        logits.append(session.step(image))
        os.getsid(0)
    np.savez(
        results,
        logits=np.stack(logits),
        engine=np.array(type(opened).__name__),
        maps=np.array(Path("/proc/self/maps").read_text()),  # whose code is at an address
    )


def of_each_stream(frame: NDArray[np.uint8], streams: int) -> NDArray[np.float32]:
    """Return a frame, uint8 [h, w, 3], as a model of several streams takes it: in each."""
    image = frame.astype(np.float32) / np.float32(255)
    return image if streams == 1 else np.stack([image] * streams)


if __name__ == "__main__":
    main(*sys.argv[1:])
