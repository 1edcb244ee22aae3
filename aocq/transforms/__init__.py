# SPDX-License-Identifier: Apache-2.0
"""Passes from a float graph to another one of the same network, easier to quantize.

Rotations and factors whose inverses are folded into weights: in real arithmetic nothing changes.
"""
