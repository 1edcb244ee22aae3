# SPDX-License-Identifier: Apache-2.0
"""What a team could have built by mistake instead of an op, and the codes that it makes."""
