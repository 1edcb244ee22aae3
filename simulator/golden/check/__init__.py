# SPDX-License-Identifier: Apache-2.0
"""A dump held against golden vectors: what differs, where, and by which mistake."""
