# SPDX-License-Identifier: Apache-2.0
"""``python -m aocq``."""

from aocq.cli import main

main()
