# SPDX-License-Identifier: Apache-2.0
"""Integer arithmetic as hardware does it: rounding, overflow, requantization, accumulators."""
