# SPDX-License-Identifier: Apache-2.0
"""``python -m aocq``."""

import sys

try:
    from aocq.cli import main
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    sys.exit(130)

if __name__ == "__main__":  # a worker process of a sweep imports this module under another name
    main()
