# SPDX-License-Identifier: Apache-2.0
"""Golden vectors: recorded from a run, directed at rounding and overflow, compared with a dump."""
