# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: from a file of any kind to a network's weights, or to what the file is instead."""

from pathlib import Path

from torch import nn

from aocq.checkpoint import jax
from aocq.checkpoint.content import Form, form
from aocq.checkpoint.fitting import Fit, fit
from aocq.checkpoint.reading import Checkpoint, read

__all__ = ["Checkpoint", "Fit", "fit", "read", "read_for"]


def read_for(network: nn.Module, path: Path) -> Checkpoint:
    """Read a checkpoint of a form that ``network`` may be needed for, see :func:`read`."""
    return jax.read(path, network) if form(path) is Form.ARRAYS else read(path)
