"""Fold batch norm and constants into convolutions."""

from dataclasses import dataclass

import numpy as np

from movinet_convert.parameters import NORM_EPSILON, Array, Unit, Weights
from movinet_models.errors import NotFiniteError


@dataclass(frozen=True)
class Conv:
    """A convolution as it runs: kernel in the unit's layout, bias [channels]."""

    kernel: Array
    bias: Array

    def scaled(self, factor: float) -> "Conv":
        """Return the convolution with its output multiplied by a constant."""
        return Conv(self.kernel * np.float32(factor), self.bias * np.float32(factor))

    def shifted(self, offset: float) -> "Conv":
        """Return the convolution with a constant added to its output."""
        return Conv(self.kernel, self.bias + np.float32(offset))

    def fed_scaled(self, factor: float) -> "Conv":
        """Return the convolution whose input is to be multiplied by a constant first."""
        return Conv(self.kernel * np.float32(factor), self.bias)


def folded(unit: Unit, weights: Weights) -> Conv:
    """Return a unit's convolution with its batch norm folded in (inference form).

    y = gamma * (conv(x) - mean) / sqrt(variance + epsilon) + beta, computed in
    float64 and rounded once.

    Raises:
        NotFiniteError: the result is no number.
    """
    kernel = weights[f"{unit.name}/kernel"].astype(np.float64)
    if not unit.norm:
        return Conv(kernel.astype(np.float32), weights[f"{unit.name}/bias"])
    gamma, beta, mean, variance = (
        weights[f"{unit.name}/{leaf}"].astype(np.float64)
        for leaf in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    with np.errstate(all="ignore"):  # said below
        factor = gamma / np.sqrt(variance + NORM_EPSILON)
        scale = factor[:, None] if unit.depthwise else factor
        conv = Conv((kernel * scale).astype(np.float32), (beta - mean * factor).astype(np.float32))
    if not (np.isfinite(conv.kernel).all() and np.isfinite(conv.bias).all()):
        raise NotFiniteError(f"{unit.name}: its weights are too large, or its variance negative")
    return conv
