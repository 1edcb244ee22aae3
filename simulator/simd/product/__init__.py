# SPDX-License-Identifier: Apache-2.0
"""Matrix products in vector registers: packed operands, tiles, narrow accumulators."""
