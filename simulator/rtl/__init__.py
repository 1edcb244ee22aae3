# SPDX-License-Identifier: Apache-2.0
"""Synthesizable SystemVerilog units, shipped as files."""
