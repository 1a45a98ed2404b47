"""Several streams through one step: a file whose image, logits and states have a batch.

Each stream has a slice of every tensor of its own. Those that have a frame run together; what
the step made of the others is undone, which costs a copy of the state each way, so it is cheap
where frames come together and no cheaper than one by one where they do not.
"""

from collections.abc import Mapping
from threading import RLock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from movinet_runtime.engines import Session
from movinet_runtime.preprocess import SCALE
from movinet_runtime.tensors import FRAME_COUNT, Array, State, TensorSpec, check_state

Image = NDArray[Any]


class Group:
    """A session of N streams, and which of its slices are in use."""

    def __init__(
        self, session: Session, states: Mapping[str, TensorSpec], image: TensorSpec
    ) -> None:
        self.session = session
        self.size = image.shape[0]
        self.states = {
            name: TensorSpec(name, (1, *spec.shape[1:]), spec.dtype, spec.scale, spec.zero_point)
            for name, spec in states.items()
        }
        self.lock = RLock()
        self._images = np.zeros((self.size, *image.shape[2:]), np.float32)
        self._taken: set[int] = set()
        # Where the count of frames stands still, and what it is anyway.
        self._held: dict[int, Array] = {}
        self._seen = np.zeros((self.size, 1, 1, 1), np.float32)
        self._told: Array | None = None

    def take(self) -> "Slice | None":
        """Hand out a slice; None if all are in use."""
        with self.lock:
            free = sorted(set(range(self.size)) - self._taken)
            if not free:
                return None
            self.write(free[0], {name: spec.zeros() for name, spec in self.states.items()})
            self._taken.add(free[0])
            return Slice(self, free[0])

    def give_back(self, index: int) -> None:
        """Let a slice be handed out again."""
        with self.lock:
            self._taken.discard(index)
            self._held.pop(index, None)

    def step(self, images: Mapping[int, Image]) -> dict[int, Array]:
        """Run one frame of some streams.

        Args:
            images: by slice: [height, width, 3], uint8 or float32 in [0, 1].

        Returns:
            By slice: logits, float32 [classes].
        """
        with self.lock:
            for index, image in images.items():
                as_float = image * SCALE if image.dtype == np.uint8 else image
                self._images[index] = as_float
            waiting = sorted(self._taken - images.keys())
            before = self.session.read_state() if waiting else {}
            self._hold()
            logits = self.session.step(self._images).reshape(self.size, -1)
            self._seen += 1
            if waiting:
                after = self.session.read_state()
                for name, value in before.items():
                    after[name][waiting] = value[waiting]
                self._seen[waiting] -= 1
                self._write(after)
            return {index: logits[index] for index in images}

    def read(self, index: int) -> State:
        """Copy a stream's state out: tensors with a leading dimension of 1."""
        with self.lock:
            whole = self.session.read_state()
            return {name: value[index : index + 1].copy() for name, value in whole.items()}

    def write(self, index: int, state: State) -> None:
        """Copy a state in; nothing is held.

        Raises:
            StateError: another model's; the present state is kept.
        """
        check_state(state, self.states)
        with self.lock:
            whole = self.session.read_state()
            for name, value in state.items():
                whole[name][index] = value[0]
            self._held.pop(index, None)
            if FRAME_COUNT in state:
                self._seen[index] = state[FRAME_COUNT][0]
            self._write(whole)

    def hold(self, index: int, count: Array) -> None:
        """Let a stream see this count of frames in every step, until its state is written."""
        with self.lock:
            self._held[index] = count

    def _write(self, whole: State) -> None:
        self.session.write_state(whole)
        self._told = None

    def _hold(self) -> None:
        """Tell the engine of counts that stand still, if it does not know them yet."""
        if not self._held:
            if self._told is not None:  # whoever was held has gone
                self._write(self.session.read_state())
            return
        counts = self._seen.copy()
        for index, count in self._held.items():
            counts[index] = count[0]
        free = sorted(set(range(self.size)) - self._taken)
        counts[free] = 0
        if self._told is None or not np.array_equal(counts, self._told):
            self.session.hold(FRAME_COUNT, counts)
            self._told = counts


class Slice:
    """One stream of a group, as a :class:`~movinet_runtime.engines.Session` of its own."""

    def __init__(self, group: Group, index: int) -> None:
        self.group, self.index = group, index

    def __del__(self) -> None:
        self.group.give_back(self.index)

    def step(self, image: Image) -> Array:
        """See :meth:`Session.step`: the other streams stand still."""
        return self.group.step({self.index: image})[self.index]

    def read_state(self) -> State:
        """See :meth:`Session.read_state`."""
        return self.group.read(self.index)

    def write_state(self, state: State) -> None:
        """See :meth:`Session.write_state`."""
        self.group.write(self.index, state)

    def hold(self, name: str, array: NDArray[Any]) -> None:
        """See :meth:`Session.hold`; of the state, only the count of frames is held."""
        self.group.hold(self.index, array)
