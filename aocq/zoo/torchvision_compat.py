# SPDX-License-Identifier: Apache-2.0
"""Let ``import timm`` work when torch is a CPU build and torchvision is not.

timm imports torchvision, whose Python side declares abstract versions of its C++ operators
``nms`` and ``qnms``. The registry's torchvision is built for CUDA; beside a CPU torch its C++
library does not load, the operators do not exist, and the import dies with
``operator torchvision::nms does not exist`` (pytorch/vision issues 9077 and 9085). Declaring the
two schemas first is enough: nothing here calls them.
"""

from __future__ import annotations

import contextlib

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
# A Library that is garbage-collected takes its declarations with it.
_kept_alive: list[torch.library.Library] = []


def declare_missing_operators() -> tuple[str, ...]:
    """Declare the torchvision operators that this torch lacks; harmless when called again.

    Returns
    -------
    tuple of str
        The operators declared by this call: empty where torchvision's own library provides them.
    """
    if torch.version.cuda is not None:
        return ()
    missing = tuple(name for name in _SCHEMAS if not _is_declared(name))
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            library.define(_SCHEMAS[name])
        _kept_alive.append(library)
    return missing


def _is_declared(name: str) -> bool:
    """Whether ``torchvision::name`` exists, after giving torchvision's C++ library its chance."""
    with contextlib.suppress(ImportError, RuntimeError, AttributeError):
        import torchvision.extension  # noqa: F401  (loads the C++ library where it can be loaded)
    return hasattr(torch.ops.torchvision, name)
