# SPDX-License-Identifier: Apache-2.0
"""Recipes and limits: what a user asks of a quantization, what a chip allows; without torch."""
