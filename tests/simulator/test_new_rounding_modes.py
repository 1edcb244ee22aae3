# SPDX-License-Identifier: Apache-2.0
"""A row more in the table of rounding modes: every path follows, or refuses the mode by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import simulator
from simulator.graph.ops import OP_TYPES

NEW = {
    "ceiling": "RoundingMode(nearest=False, always=1)",
    "half_toward_zero": "RoundingMode(nearest=True, if_negative=1)",
    "to_odd": "RoundingMode(nearest=False, always=1, if_odd=-1)",
}
MEMBER = '    HALF_EVEN = "half_even"\n'
ROW = "        Rounding.HALF_EVEN: RoundingMode(nearest=True, if_odd=1),\n"
HERE = Path(__file__).parent


def test_one_row_is_all_that_a_mode_needs(tmp_path):
    package = tmp_path / "simulator"
    shutil.copytree(
        Path(simulator.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(HERE.parents[1] / "hw_profiles", tmp_path / "hw_profiles")
    table = package / "numerics" / "rounding.py"
    text = table.read_text(encoding="utf-8")
    for line, added in (
        (MEMBER, "".join(f'    {name.upper()} = "{name}"\n' for name in NEW)),
        (ROW, "".join(f"        Rounding.{name.upper()}: {row},\n" for name, row in NEW.items())),
    ):
        assert text.count(line) == 1
        text = text.replace(line, line + added)
    table.write_text(text, encoding="utf-8")

    folders = [tmp_path, HERE, HERE / "ops", HERE / "profile", HERE.parent]
    done = subprocess.run(
        [sys.executable, HERE / "new_rounding_modes.py", *NEW],
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(map(str, folders)), "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [path for path, followed in told.items() if not followed] == []
    for name in NEW:
        ops = {path.removeprefix(f"{name}: ") for path in told} & OP_TYPES.keys()
        assert len(ops) >= 13, ops
