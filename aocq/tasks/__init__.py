# SPDX-License-Identifier: Apache-2.0
"""What networks do: how images are read, what outputs mean, and by what they are judged."""
