# SPDX-License-Identifier: Apache-2.0
"""Speed beside a peer in the same run, as ratios. Never part of the tests: see docs/speed.md."""
