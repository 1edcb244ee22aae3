# SPDX-License-Identifier: Apache-2.0
"""Float networks: timm models by name, their options, which of them come through."""
