# SPDX-License-Identifier: Apache-2.0
"""The model side: capture a timm vision transformer, quantize it, lower it to an IntGraph."""

__version__ = "0.1.0"
