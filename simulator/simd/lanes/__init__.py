# SPDX-License-Identifier: Apache-2.0
"""Vector registers: lanes, requantization and tables in them."""
