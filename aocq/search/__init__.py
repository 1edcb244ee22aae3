# SPDX-License-Identifier: Apache-2.0
"""Which bits where: what a step of one layer's width gains and costs, and recipes found by steps."""
