# SPDX-License-Identifier: Apache-2.0
"""Run records: what a finished run leaves in its folder, published whole and judged by gates.

Nothing here imports torch or timm: reports read records without them.
"""
