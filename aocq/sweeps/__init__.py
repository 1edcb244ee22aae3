# SPDX-License-Identifier: Apache-2.0
"""Sweeps: many units of work, each in its own folder, by worker processes, resumable always."""
