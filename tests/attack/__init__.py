# SPDX-License-Identifier: Apache-2.0
"""Attacks on the command line: damaged files, kills, neighbours, disks, caches (`make attack`)."""
