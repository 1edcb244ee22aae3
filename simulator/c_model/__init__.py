# SPDX-License-Identifier: Apache-2.0
"""A C99 model of the units, header-only, shipped as files."""
