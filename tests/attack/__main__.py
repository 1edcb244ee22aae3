# SPDX-License-Identifier: Apache-2.0
"""Attack the product as files, neighbours, disks and kills do, and count what must not happen.

Every command must end with a documented exit code and a message; nothing may be computed wrongly or
lost in silence. Ends with 1 if anything did. The same seed makes the same attack, times of kills
aside. Minutes; as root, disks that fill up are tried too.

Run:  python tests/attack [--only files] [--seed 1] [--scale 1.0]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "cli")]

from attack import caches, disks, files, forked, kills, neighbours, oddities  # noqa: E402
from attack.judged import Tally  # noqa: E402

# name: what attacks, and how often at --scale 1
PARTS = {
    "files": (files.attack, 80),
    "oddities": (oddities.attack, 1),
    "kills": (kills.attack, 60),
    "neighbours": (neighbours.attack, 24),
    "disks": (disks.attack, 2),
    "caches": (caches.attack, 20),
}


def main() -> int:
    """Attack and print a line for each part, then the faults."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", choices=PARTS, action="append", help="this part (repeatable)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn")
    parser.add_argument("--scale", type=float, default=1.0, help="how many times as many cases")
    parser.add_argument("--kind", default="", help="of files: those whose name holds this")
    wanted = parser.parse_args()
    start = time.monotonic()
    forked.load()
    found: list[Tally] = []
    with tempfile.TemporaryDirectory(prefix="aocq-attack-") as folder:
        root = Path(folder)
        demo = root / "demo"
        ended = forked.run("demo", "--preset", "fast", "--out", demo)
        if ended.code != 0:
            print(f"the demo itself ended with {ended.code}: {ended.err}", file=sys.stderr)
            return 1
        for name in wanted.only or PARTS:
            attack, count = PARTS[name]
            count = max(1, round(count * wanted.scale))
            more = {"only": wanted.kind} if name == "files" else {}
            for tally in attack(demo, root / name, wanted.seed, count, **more):  # type: ignore[operator]
                print(tally.line(), flush=True)
                found.append(tally)
    faults = [fault for tally in found for fault in tally.faults]
    for fault in faults:
        print(f"\nFAULT {fault}")
    cases = sum(tally.cases for tally in found)
    print(f"\n{cases} cases, {len(faults)} faults, {time.monotonic() - start:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
