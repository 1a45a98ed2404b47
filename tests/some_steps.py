"""Take some steps of training on whatever devices there are, and write what came of them.

Args: folder of clips, output .npz, devices that the processor is divided into.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from movinet_convert.backend import keras, tf
from movinet_convert.network import MoViNet
from movinet_convert.training.batches import Batches
from movinet_convert.training.devices import Devices, found_devices
from movinet_convert.training.plan import Plan
from movinet_convert.training.reading import Augmentation
from movinet_convert.training.step import Step
from movinet_models.clips import find_clips
from movinet_models.family import FAMILY

PLAN = Plan(
    epochs=1, freeze=0, frames=4, batch=4, rate=1e-3, final_rate=0.1, start_resolution=32,
    patience=1, lead_in=0, horizon=3, ema=0.9,
)  # fmt: skip
# Two blocks of A0. Its hard swish keeps sums in another order near each other; the derivative
# of relu6 jumps where a channel is the same everywhere.
FAMILY["a0"] = replace(FAMILY["a0"], blocks=FAMILY["a0"].blocks[:2])


def main(data: Path, output: Path, divided: int) -> None:
    if divided > 1:
        cpu = tf.config.list_physical_devices("CPU")[0]
        parts = [tf.config.LogicalDeviceConfiguration()] * divided
        tf.config.set_logical_device_configuration(cpu, parts)
        names = [f"CPU:{i}" for i in range(divided)]
        devices = Devices(tf.distribute.MirroredStrategy(names))
    else:
        devices = found_devices()
    clips = sorted(find_clips(data), key=lambda clip: clip.path)
    labels = sorted({clip.label for clip in clips})
    part = (devices.machine, devices.machines)
    kind = Augmentation()
    batches = Batches(clips, labels, 5.0, 4, 32, 4, augmentation=kind, part=part)
    keras.utils.set_random_seed(0)
    with devices.strategy.scope():
        network = MoViNet("a0-stream", len(labels), 32)
    step = Step(network, devices, PLAN, 4, frozen=False)
    answers = [step(*batches[0])]
    momenta = [v.numpy() for v in step.optimizer.variables if "momentum" in v.path]
    gradient = {f"gradient {i}": value for i, value in enumerate(momenta)}
    answers += [step(*batches[index]) for index in range(1, 4)]
    moving = [v.numpy() for v in network.non_trainable_variables if "moving" in v.path]
    if devices.first:
        statistics = {f"statistics {i}": value for i, value in enumerate(moving)}
        np.savez(output, answers=np.array(answers), **gradient, **statistics)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
