"""What a training computes on: one device, several graphics cards, or several machines."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from movinet_convert.backend import tf
from movinet_convert.parameters import Array
from movinet_runtime.errors import UsageError

CLUSTER = "TF_CONFIG"
EXAMPLE = '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Devices:
    """Devices that share out every batch, hold the same weights, and sum up their gradients.

    Attributes:
        strategy: TensorFlow's, in whose scope network and optimizer are made.
        machine: number of this process among
        machines: those that train together; the first one writes the files.
    """

    strategy: Any
    machine: int = 0
    machines: int = 1

    @property
    def count(self) -> int:
        """Devices of all machines."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.machine == 0

    def divisible(self, batch: int) -> int:
        """Return the largest batch up to this one that can be shared out equally.

        Raises:
            UsageError: there are more devices than clips.
        """
        if batch < self.count:
            raise UsageError(f"{self.count} devices cannot share out a batch of {batch} clips")
        return batch - batch % self.count

    def share_out(self, batch: Sequence[Any]) -> tuple[Any, ...]:
        """Cut this machine's arrays [n, ...] into equal parts, one for each of its devices."""
        devices = self.count // self.machines

        def part(array: Any, context: Any) -> Any:
            here = context.replica_id_in_sync_group % devices
            return tf.constant(np.array_split(array, devices)[here])

        return tuple(
            self.strategy.experimental_distribute_values_from_function(
                lambda context, array=array: part(array, context)
            )
            for array in batch
        )

    def gathered(self, values: Sequence[float]) -> Array:
        """Return the values that each machine has, [machines, values]: all call this."""
        if self.machines == 1:
            return np.array([values], np.float32)

        def everywhere(values: Any) -> Any:
            return tf.distribute.get_replica_context().all_gather(values, axis=0)

        mine = self.share_out([np.array([values] * (self.count // self.machines), np.float32)])
        found = self.strategy.experimental_local_results(self.strategy.run(everywhere, mine))[0]
        return np.asarray(found.numpy()[:: self.count // self.machines])

    def must_agree(self, decided: Mapping[str, Any]) -> None:
        """Refuse a training whose machines have not been given the same: all call this.

        Args:
            decided: what decides a training, as JSON values.

        Raises:
            UsageError: another machine has other clips, options or weights than the first one.
        """
        digests = {key: _digest(value) for key, value in sorted(decided.items())}
        table = self.gathered(list(digests.values()))
        for machine, row in enumerate(table):
            differ = [
                k for k, first, own in zip(digests, table[0], row, strict=True) if first != own
            ]
            if differ:
                raise UsageError(f"machine {machine} differs from machine 0 in {', '.join(differ)}")


def _digest(value: Any) -> int:
    """Return 24 bits, which a float32 holds."""
    text = json.dumps(value, sort_keys=True).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:3])


def one_device() -> Devices:
    """Return the first card, or the processor."""
    return Devices(tf.distribute.get_strategy())


def found_devices() -> Devices:
    """Return what there is; before TensorFlow has computed anything.

    ``TF_CONFIG`` names the machines, as TensorFlow's documentation describes it. Without it,
    all graphics cards of this machine.

    Raises:
        UsageError: the variable is damaged, or the other machines do not answer.
    """
    if not os.environ.get(CLUSTER):
        cards = tf.config.list_physical_devices("GPU")
        return Devices(tf.distribute.MirroredStrategy()) if len(cards) > 1 else one_device()
    try:
        about = json.loads(os.environ[CLUSTER])
        machines, machine = list(about["cluster"]["worker"]), int(about["task"]["index"])
        if set(about["cluster"]) != {"worker"} or not 0 <= machine < len(machines):
            raise ValueError("it must name workers only, and which of them this is")
    except (ValueError, KeyError, TypeError) as error:
        example = {
            "cluster": {"worker": ["a:2222", "b:2222"]},
            "task": {"type": "worker", "index": 0},
        }
        raise UsageError(f"{CLUSTER} must be like {json.dumps(example)}: {error}") from error
    try:
        return Devices(tf.distribute.MultiWorkerMirroredStrategy(), machine, len(machines))
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise UsageError(f"the machines of {CLUSTER} do not come together: {error}") from error
