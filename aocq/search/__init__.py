# SPDX-License-Identifier: Apache-2.0
"""Which bits where: what another width of one layer gains and costs; recipes found by that."""
