# SPDX-License-Identifier: Apache-2.0
"""Writes ``hashes.json``: the sha256 of every case's graph and of its logits' codes.

``python tests/golden/record.py`` prints which cases change before it writes. A change that is meant
goes under "Numerics" in CHANGELOG.md, see CONTRIBUTING.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from networks import cases, fingerprint

HASHES = Path(__file__).parent / "hashes.json"


def recorded() -> Mapping[str, Mapping[str, str]]:
    """Return the fingerprints on record, by case."""
    found: dict[str, dict[str, str]] = json.loads(HASHES.read_text()) if HASHES.exists() else {}
    return found


def main() -> None:
    """Compute every case, say what differs from the record, and write the new one."""
    before, now = recorded(), {case.name: dict(fingerprint(case)) for case in cases()}
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            print(f"{name}: {before.get(name)} -> {now.get(name)}")
    HASHES.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")
    print(f"{len(now)} cases in {HASHES.name}")


if __name__ == "__main__":
    main()
