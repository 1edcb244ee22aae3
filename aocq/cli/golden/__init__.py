# SPDX-License-Identifier: Apache-2.0
"""``aocq golden``: golden vectors of a graph, one file per command."""
