# SPDX-License-Identifier: Apache-2.0
"""``aocq export``: a graph in the form of another tool, one file per command."""
