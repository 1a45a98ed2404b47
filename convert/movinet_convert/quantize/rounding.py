"""Round weights to whole numbers with a scale for each output channel."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from movinet_convert.graph import Quantization, Tensor

BITS = 8
Matrix = NDArray[np.float64]
# Added to the diagonal of the moments, relative to its mean: few frames of few scenes do
# not span all directions that other scenes will use. 0.01, 0.03, 0.1 and 0.3 were tried.
DAMPING = 0.01


def rounded(
    tensor: Tensor,
    moments: Matrix | None = None,
    axis: int = 0,
    least: Matrix | None = None,
    bits: int = BITS,
) -> Tensor:
    """Return filters as int8, of all its codes or of those that fewer bits have.

    Args:
        tensor: a float32 constant.
        moments: second moments [in, in] of a pointwise convolution's input, to round by
            :func:`compensated`; None rounds each weight to the nearest.
        axis: of the output channels: 0, in depthwise filters 3.
        least: of each channel's scale [channels].
        bits: 2 to 8; codes are symmetric, -127 to 127 with eight.
    """
    most = 2 ** (bits - 1) - 1
    if tensor.data is None:
        raise ValueError(f"{tensor.name} is no constant")
    by_channel = np.moveaxis(tensor.data, axis, 0)
    rows = by_channel.reshape(len(by_channel), -1).astype(np.float64)
    scales = np.maximum(np.abs(rows).max(axis=1) / most, np.finfo(np.float32).tiny)
    if least is not None:
        scales = np.maximum(scales, least)
    scales = scales.astype(np.float32).astype(np.float64)
    if moments is None:
        codes = np.clip(np.rint(rows / scales[:, None]), -most, most)
    else:
        codes = compensated(rows, scales, moments, most)
    return replace(
        tensor,
        dtype=np.dtype(np.int8),
        data=np.ascontiguousarray(
            np.moveaxis(codes.astype(np.int8).reshape(by_channel.shape), 0, axis)
        ),
        quantization=Quantization(
            scales.astype(np.float32), np.zeros(len(scales), np.int64), axis=axis
        ),
    )


def compensated(rows: Matrix, scales: Matrix, moments: Matrix, most: int) -> Matrix:
    """Round column by column; each column's error is made up for by those that follow.

    GPTQ (Frantar et al., arXiv 2210.17323): with H the input's second moments, the error of
    column i moves the later ones by -e U[i, i+1:] / U[i, i], U the upper Cholesky factor of
    the inverse of H. Columns go by falling H[i, i].

    Args:
        rows: weights [out, in].
        scales: of the output channels [out].
        moments: second moments of the inputs [in, in].
        most: the largest code.

    Returns:
        Codes [out, in], whole numbers in -most .. most.
    """
    moments = moments.copy()
    diagonal = np.diag_indices_from(moments)
    mean = float(moments[diagonal].mean())
    moments[diagonal] += DAMPING * mean if mean > 0 else 1.0
    order = np.argsort(-moments[diagonal], kind="stable")
    factor = np.linalg.cholesky(np.linalg.inv(moments[np.ix_(order, order)])).T
    left = rows[:, order].copy()
    codes = np.empty_like(left)
    for i in range(left.shape[1]):
        codes[:, i] = np.clip(np.rint(left[:, i] / scales), -most, most)
        error = (left[:, i] - codes[:, i] * scales) / factor[i, i]
        left[:, i + 1 :] -= np.outer(error, factor[i, i + 1 :])
    return codes[:, np.argsort(order)]
