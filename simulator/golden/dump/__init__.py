# SPDX-License-Identifier: Apache-2.0
"""The dump of a device or a simulator: its files, their values, which array each holds."""
