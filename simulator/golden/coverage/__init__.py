# SPDX-License-Identifier: Apache-2.0
"""Which mistakes vectors tell apart, and which no vectors can."""
