# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: from a file of any kind to a network's weights, or to what the file is instead."""

from aocq.checkpoint.fitting import Fit, fit
from aocq.checkpoint.reading import Checkpoint, read

__all__ = ["Checkpoint", "Fit", "fit", "read"]
