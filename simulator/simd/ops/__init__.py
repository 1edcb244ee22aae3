# SPDX-License-Identifier: Apache-2.0
"""Ops in vector registers: the same integers as the portable kernels."""
