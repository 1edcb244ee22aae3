# SPDX-License-Identifier: Apache-2.0
"""Keys of ``[rescale]`` that an op reads, by its kind and the algorithm that a profile names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from simulator.profile.arithmetic import RescaleSection

SUMMING = frozenset({"linear", "matmul", "mean"})
_ALL = frozenset(RescaleSection.model_fields)
_ENDING = frozenset({"rounding", "overflow", "shift"})
_TWICE = _ENDING | {"double_rounding"}

# A kind without algorithms has the row "".
_READ: Mapping[str, Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "linear": {"": _ALL},
        "matmul": {"": _ALL},
        "rescale": {"": _ALL},
        "mul": {"graph": _ALL},  # only a LayerNorm that is a graph of operators has products
        "add": {
            "common_shift": _ENDING | {"multiplier_bits", "scale_type"},
            "fixed_20": _ENDING | {"scale_type"},
            "shifted_q31": _TWICE,
            "float32": frozenset({"overflow", "shift"}),  # a mask of attention is a sum, too
        },
        "mean": {"folded": _ALL, "folded_q31": _TWICE | {"scale_type"}},
        "softmax": {"exp_table": _ENDING},
        "gelu": {"ibert_poly": _ALL, "shift_gelu": _ALL},
        "layernorm": {
            "isqrt_exact": _ENDING | {"multiplier_bits"},
            "isqrt_newton": _ENDING | {"multiplier_bits"},
            "isqrt_bisect": _ENDING | {"multiplier_bits"},
        },
    }
)


def keys_read(kind: str, algorithm: str = "") -> frozenset[str]:
    """Return the keys that ops of this kind read; none where the algorithm has rules of its own.

    LayerNorm as a graph of operators reads those of the kinds ``add``, ``mul``, ``mean`` and
    ``rescale``.
    """
    return _READ[kind].get(algorithm, frozenset())
