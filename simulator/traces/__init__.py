# SPDX-License-Identifier: Apache-2.0
"""Inner values of ops, by numpy: what a unit's registers hold between operands and result."""
