"""Batch norm: fast in training, and able to find statistics again that were folded away."""

from typing import Any

import numpy as np

from movinet_convert.backend import devices_in_step, fused_batch_norm, keras, shared_batch_norm

Tensor = Any  # a Keras tensor: symbolic, or of TensorFlow


class Moments:
    """Mean and variance [c] of everything that passes by, in float64."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0.0, np.zeros(1), np.zeros(1)

    def add(self, x: Tensor) -> None:
        """Take in values [n, h, w, c]."""
        values = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
        self.count += len(values)
        self.total = self.total + values.sum(axis=0)
        self.squares = self.squares + np.square(values).sum(axis=0)

    @property
    def mean(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Mean [c]."""
        return np.asarray(self.total / self.count)

    @property
    def variance(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Variance [c]."""
        return np.asarray(np.maximum(self.squares / self.count - np.square(self.mean), 0))


class FusedNorm(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Batch norm whose training step is one kernel: 1.6 times as fast on a CPU as its parts.

    Attributes:
        observed: takes in what is normalized, if it is set.
        kept: training, too, normalizes by the moving statistics, and leaves them as they are.
    """

    observed: Moments | None = None
    kept = False

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """Normalize [n, h, w, c]."""
        if self.observed is not None:
            self.observed.add(x)
        if self.kept or not (training and self.trainable):
            return super().call(x, training=False)
        normalize = fused_batch_norm
        if devices_in_step() > 1:
            normalize = shared_batch_norm
        y, mean, variance = normalize(x, self.gamma, self.beta, self.epsilon)
        for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + value * (1 - self.momentum))
        return y

    def adopt(self) -> None:
        """Take the observed moments for statistics, and compute the same with them."""
        if self.observed is None:
            return
        mean, variance = self.observed.mean, self.observed.variance
        before, after = (
            np.sqrt(np.asarray(v, np.float64) + self.epsilon)
            for v in (self.moving_variance, variance)
        )
        slope = np.asarray(self.gamma, np.float64) / before
        offset = np.asarray(self.beta, np.float64) - np.asarray(self.moving_mean) * slope
        self.gamma.assign((slope * after).astype(np.float32))
        self.beta.assign((offset + slope * mean).astype(np.float32))
        self.moving_mean.assign(mean.astype(np.float32))
        self.moving_variance.assign(variance.astype(np.float32))
        self.observed = None
