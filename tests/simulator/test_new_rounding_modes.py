# SPDX-License-Identifier: Apache-2.0
"""A row more in the table of rounding modes: every path follows, or refuses the mode by name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import simulator
from simulator.graph.ops import OP_TYPES, Lookup
from simulator.numerics.jit import has_avx2
from simulator.simd.ops import FORMS

NEW = {
    "ceiling": "RoundingMode(nearest=False, always=1)",
    "half_toward_zero": "RoundingMode(nearest=True, if_negative=1)",
    "to_odd": "RoundingMode(nearest=False, always=1, if_odd=-1)",
}
MEMBER = '    HALF_EVEN = "half_even"\n'
ROW = "        Rounding.HALF_EVEN: RoundingMode(nearest=True, if_odd=1),\n"
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A folder with a copy of the package that has the new modes."""
    folder = tmp_path_factory.mktemp("extended")
    package = folder / "simulator"
    shutil.copytree(
        Path(simulator.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(HERE.parents[1] / "hw_profiles", folder / "hw_profiles")
    table = package / "numerics" / "rounding.py"
    text = table.read_text(encoding="utf-8")
    for line, added in (
        (MEMBER, "".join(f'    {name.upper()} = "{name}"\n' for name in NEW)),
        (ROW, "".join(f"        Rounding.{name.upper()}: {row},\n" for name, row in NEW.items())),
    ):
        assert text.count(line) == 1
        text = text.replace(line, line + added)
    table.write_text(text, encoding="utf-8")
    return folder


def told(folder, kernels, names, **environment):
    """Return what the paths of some kernels make of modes, by mode and path."""
    folders = [folder, HERE, HERE / "profile", HERE.parent]
    done = subprocess.run(
        [sys.executable, HERE / "new_rounding_modes.py", kernels, *names],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_one_row_is_all_that_a_mode_needs(extended):
    paths = told(extended, "portable", NEW, NUMBA_DISABLE_JIT="1")
    assert [path for path, followed in paths.items() if not followed] == []
    for name in NEW:
        ops = {path.removeprefix(f"{name}: ") for path in paths} & OP_TYPES.keys()
        assert len(ops) >= 13, ops


@pytest.mark.skipif(not has_avx2(), reason="this CPU has no AVX2")
def test_vector_registers_follow_a_new_mode_or_refuse_it(extended):
    paths = told(extended, "registers", ["half_toward_zero", "to_odd"])
    assert [path for path, followed in paths.items() if not followed] == []
    assert set(paths) == {
        *(f"half_toward_zero: {kind.__name__}" for kind in FORMS),
        # Lanes hold what is added for a set last bit as a mask, which a negative number is not.
        *(f"to_odd: {kind.__name__}: refused" for kind in FORMS if kind is not Lookup),
        "to_odd: Lookup",  # it rounds nothing
    }
