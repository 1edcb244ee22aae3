# SPDX-License-Identifier: Apache-2.0
"""NpuProfile: a hardware profile, read from TOML and checked strictly.

Every key is known, every value in range, and all mistakes are reported at once, each with its path
in the file. The keys are documented in ``docs/profiles.md``.
"""

from simulator.profile.algorithms import (
    DeferredLog2Softmax,
    ExpTableSoftmax,
    GraphLayerNorm,
    IntegerLayerNorm,
    LayerNormSection,
    NewtonLayerNorm,
    PlainLayerNorm,
    ShiftedAdd,
    SoftmaxSection,
)
from simulator.profile.arithmetic import AccumulatorSection, RescaleSection
from simulator.profile.cost import (
    ComputeSection,
    CyclesPerElement,
    DotEngine,
    SystolicEngine,
    VectorSection,
)
from simulator.profile.loading import advice_to_choose, load_profile
from simulator.profile.profile import CONFIDENCE, NpuProfile, OpKind, flat_values
from simulator.profile_names import profile_paths

__all__ = [
    "CONFIDENCE",
    "AccumulatorSection",
    "ComputeSection",
    "CyclesPerElement",
    "DeferredLog2Softmax",
    "DotEngine",
    "ExpTableSoftmax",
    "GraphLayerNorm",
    "IntegerLayerNorm",
    "LayerNormSection",
    "NewtonLayerNorm",
    "NpuProfile",
    "OpKind",
    "PlainLayerNorm",
    "RescaleSection",
    "ShiftedAdd",
    "SoftmaxSection",
    "SystolicEngine",
    "VectorSection",
    "advice_to_choose",
    "flat_values",
    "load_profile",
    "profile_paths",
]
