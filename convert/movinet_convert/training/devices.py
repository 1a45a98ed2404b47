"""What a training computes on: one device, several graphics cards, or several machines."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from movinet_convert.backend import tf
from movinet_convert.parameters import Array
from movinet_runtime.errors import UsageError

CLUSTER = "TF_CONFIG"
KINDS = ("chief", "worker")  # in the order of their numbers
EXAMPLE = '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}'
# What collective operators end with when a machine is gone.
STOPPED = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


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

    def together(self, on_a_device: Callable[..., Any]) -> Callable[..., list[Any]]:
        """Compile a function, to be run on all devices at once.

        Args:
            on_a_device: of a part of this machine's arrays [n, ...]; returns tensors that are
                the same everywhere.

        Returns:
            A function of this machine's arrays: all machines call it. It raises UsageError
            when another one has stopped.
        """
        run = self.strategy.run
        compiled = tf.function(lambda *parts: run(on_a_device, parts), reduce_retracing=True)

        def shared_out(*arrays: Any) -> list[Any]:
            try:
                found = compiled(*map(self._parts, arrays))
            except STOPPED as error:
                if self.machines == 1:
                    raise
                raise UsageError(
                    "another machine of the training has stopped: start all of them again, "
                    f"with --resume if there is a checkpoint ({error.message.splitlines()[0]})"
                ) from error
            return [self.strategy.experimental_local_results(x)[0].numpy() for x in found]

        return shared_out

    def _parts(self, array: Any) -> Any:
        """Cut an array into equal parts, one for each of this machine's devices."""
        here = self.count // self.machines
        parts = np.array_split(array, here)
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group % here])
        )

    def gathered(self, values: Sequence[float]) -> Array:
        """Return the values that each machine has, [machines, values]: all call this."""
        if self.machines == 1:
            return np.array([values], np.float32)

        def summed(rows: Any) -> list[Any]:
            own = tf.identity(rows)  # which has a device, as an argument has not
            return [tf.distribute.get_replica_context().all_reduce("SUM", own)]

        rows = np.zeros((self.count // self.machines, self.machines, len(values)), np.float32)
        rows[0, self.machine] = values
        found: Array = self.together(summed)(rows)[0][0]
        return found

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
        machines = [(kind, i) for kind in KINDS for i in range(len(about["cluster"].get(kind, [])))]
        if set(about["cluster"]) - set(KINDS):
            raise ValueError(f"a cluster has {' and '.join(KINDS)} only")
        machine = machines.index((about["task"]["type"], int(about["task"]["index"])))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{CLUSTER} must be like {EXAMPLE}: {error}") from error
    try:
        return Devices(tf.distribute.MultiWorkerMirroredStrategy(), machine, len(machines))
    except (tf.errors.OpError, RuntimeError, ValueError) as error:
        raise UsageError(f"the machines of {CLUSTER} do not come together: {error}") from error
