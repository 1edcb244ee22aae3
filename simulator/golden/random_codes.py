# SPDX-License-Identifier: Apache-2.0
"""Random codes for the input of a graph: the same ones for the same seed, whatever the batch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simulator.graph.graph import Tensor
from simulator.numerics.float_type import Array, FloatType


def random_codes(tensor: Tensor, images: int, seed: int) -> Iterator[Array]:
    """Yield codes [1, ...] of a tensor, evenly from all of its type; image by image.

    Of a tensor of real values, numbers of a normal distribution.
    """
    for image in range(images):
        rng = np.random.default_rng([seed, image])
        shape = (1, *tensor.shape)
        if isinstance(tensor.type, FloatType):
            yield rng.normal(size=shape).astype(tensor.type.dtype)
        else:
            low, high = tensor.type.low, tensor.type.high
            codes = rng.integers(low, high, shape, dtype=np.int64, endpoint=True)
            yield codes.astype(tensor.type.dtype)
