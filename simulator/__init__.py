# SPDX-License-Identifier: Apache-2.0
"""The chip: integer graphs, their bit-accurate execution, and what they cost.

Nothing in here imports torch, timm or aocq, so a graph can be executed, checked and costed with
numpy and numba alone. (The one exception is a lazy import in :mod:`simulator.gemm`, which borrows
torch's int8 matrix product where torch is measured to be faster and proven exact.)
"""
