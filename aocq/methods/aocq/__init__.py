# SPDX-License-Identifier: Apache-2.0
"""AOCQ, adaptive outlier correction quantization (FITEE 2025, doi 10.1631/FITEE.2400994)."""
