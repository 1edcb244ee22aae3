# SPDX-License-Identifier: Apache-2.0
"""A graph in the form of another tool."""
