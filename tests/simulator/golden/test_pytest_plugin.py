# SPDX-License-Identifier: Apache-2.0
"""The pytest plug-in, in test runs of its own."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from small_graphs import Draft

from simulator.golden.emulated import emulated
from simulator.graph.ops import Rescale

pytest_plugins = "pytester"

MODULE = "simulator.golden.pytest_plugin"
# Caches are no business of these runs, and hypothesis takes seconds to import in every worker.
QUIET = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
CHECKS = """
    import numpy as np
    import pytest

    def test_codes(golden):
        golden.check("codes", np.array([[1, -2], [3, {value}]], np.int8))
"""


def installed() -> bool:
    entry_points = importlib.metadata.entry_points(group="pytest11")
    return any(entry.value == MODULE for entry in entry_points)


@pytest.fixture
def run(pytester):
    def call(*arguments: object) -> pytest.RunResult:
        plugin = [] if installed() else ["-p", MODULE]
        return pytester.runpytest_inprocess(*QUIET, *plugin, *arguments)

    return call


@pytest.fixture(scope="module")
def numba_loaded():
    """All of Numba, before a run inside this process imports it: it cannot be imported twice."""
    d = Draft()
    d.op(Rescale, "y", d.input("a", (3,)))
    emulated(d.graph(), np.zeros((1, 3), np.int8))


@pytest.fixture
def write(pytester):
    """Write the test module, with a value that makes the difference."""

    def written(text: str = CHECKS, **values: object) -> None:
        pytester.makepyfile(test_unit=text.format(**values) if values else text)

    return written


@pytest.fixture
def updated(run, write):
    """A test module whose golden array is written."""
    write(value=4)
    run("--golden-update").assert_outcomes(passed=1)


def golden_folder(pytester):
    return pytester.path / "golden" / "test_unit"


def said(result: pytest.RunResult) -> str:
    return result.stdout.str()


def test_what_is_written_passes_and_says_what_it_holds(pytester, run, updated):
    folder = golden_folder(pytester)
    described = json.loads((folder / "codes.json").read_text("utf-8"))
    assert (described["dtype"], described["shape"]) == ("int8", [2, 2])
    assert (described["least"], described["most"]) == (-2, 4)
    assert np.load(folder / "codes.npy").tolist() == [[1, -2], [3, 4]]
    run().assert_outcomes(passed=1)


def test_a_missing_file_fails_and_says_how_to_write_it(run, write, pytester):
    write(value=4)
    result = run()
    result.assert_outcomes(failed=1)
    assert "there is no codes.npy in" in said(result)
    assert "pytest --golden-update 'test_unit.py::test_codes'" in said(result)
    assert not golden_folder(pytester).exists()


def test_one_other_value_fails_with_its_index_in_decimal_and_hex(run, updated, write):
    write(value=-5)
    result = run()
    result.assert_outcomes(failed=1)
    assert "1 of 4 values differ" in said(result)
    assert "first at [1, 1]: expected 4 (0x04), got -5 (0xfb)" in said(result)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        ("np.array([[1, -2], [3, 4]], np.int16)", "type is int16, wanted int8"),
        ("np.array([1, -2, 3, 4], np.int8)", "shape is [4], wanted [2, 2]"),
        ("np.array([[1, -2], [3, 4]], np.int8).view(np.uint8)", "type is uint8, wanted int8"),
    ],
)
def test_type_and_shape_count(run, updated, write, array, message):
    write(CHECKS.replace("np.array([[1, -2], [3, {value}]], np.int8)", array))
    result = run()
    result.assert_outcomes(failed=1)
    assert message in said(result)


@pytest.mark.parametrize(
    ("before", "after"),
    [("0.0", "-0.0"), ("16777216.0", "16777218.0"), ("np.nan", "-np.nan")],
)
def test_floats_are_compared_by_their_bits(run, write, before, after):
    text = CHECKS.replace("[[1, -2], [3, {value}]], np.int8", "[{value}], np.float32")
    write(text, value=before)
    run("--golden-update").assert_outcomes(passed=1)
    run().assert_outcomes(passed=1)
    write(text, value=after)
    run().assert_outcomes(failed=1)


def test_byte_and_memory_order_are_no_part_of_the_values(run, updated, write):
    write(CHECKS.replace("np.int8)", "np.int8)[:, ::-1].copy(order='F')[:, ::-1]"), value=4)
    run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('golden.check("../codes", np.zeros(1, np.int8))', "a name has letters, digits"),
        ('golden.check("", np.zeros(1, np.int8))', "a name has letters, digits"),
        ('golden.check("codes", [1, 2])', "an array with a type, this is a list"),
        ('golden.check("codes", np.array(["a"]))', "integers, bools or floats"),
        ('golden.check("codes", np.ma.array([1, 2], mask=[0, 1]))', "an array without a mask"),
    ],
)
def test_what_is_no_golden_array_is_refused(run, write, call, message, pytester):
    write(f"import numpy as np\ndef test_codes(golden):\n    {call}\n")
    result = run("--golden-update")
    result.assert_outcomes(failed=1)
    assert message in said(result)
    assert not list(pytester.path.rglob("codes*"))


def test_an_array_that_is_checked_twice_is_refused_the_second_time(run, write, pytester):
    twice = 'for code in (1, 2):\n        golden.check("codes", np.array([code], np.int8))'
    write(f"import numpy as np\ndef test_codes(golden):\n    {twice}\n")
    result = run("--golden-update")
    result.assert_outcomes(failed=1)
    assert "checked twice in one test" in said(result)
    assert np.load(golden_folder(pytester) / "codes.npy").tolist() == [1]


def test_a_file_that_is_not_the_one_described_fails(run, updated, pytester):
    path = golden_folder(pytester) / "codes.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"\x05")
    result = run()
    result.assert_outcomes(failed=1)
    assert "is not the file that codes.json describes" in said(result)
    path.write_bytes(content[:-1])
    result = run()
    result.assert_outcomes(failed=1)
    assert "cannot be read" in said(result)


def test_an_update_writes_only_what_changes(run, updated, write, pytester):
    path = golden_folder(pytester) / "codes.npy"
    before = path.stat().st_mtime_ns
    result = run("--golden-update")
    assert "0 written, 0 changed, 1 unchanged" in said(result)
    assert path.stat().st_mtime_ns == before
    write(value=9)
    assert "0 written, 1 changed, 0 unchanged" in said(run("--golden-update"))
    run().assert_outcomes(passed=1)


PARAMETRISED = """
    import numpy as np
    import pytest

    @pytest.mark.parametrize("simulator", ["icarus", "../b c"])
    def test_case(golden, simulator):
        golden.check("own", np.array([len(simulator)], np.int16))
        golden.check("common", np.array([{value}], np.int16), shared=True)
"""


def test_cases_have_files_of_their_own_or_share_one(run, write, pytester):
    write(PARAMETRISED, value=3)
    run("--golden-update").assert_outcomes(passed=2)
    files = {str(p.relative_to(golden_folder(pytester))) for p in pytester.path.rglob("*.npy")}
    (escaped,) = files - {"common.npy", "own/icarus.npy"}
    assert re.fullmatch(r"own/b-c-[0-9a-f]{8}\.npy", escaped)
    run().assert_outcomes(passed=2)


OTHER_PER_CASE = "len(simulator) + (simulator == 'icarus')"


def test_two_different_arrays_in_one_file_fail_the_update(run, write):
    write(PARAMETRISED, value=OTHER_PER_CASE)
    result = run("--golden-update")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "common.npy: two checks wrote different arrays" in said(result)


def test_workers_tell_what_they_wrote(run, write):
    write(PARAMETRISED, value=OTHER_PER_CASE)
    result = run("--golden-update", "-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "common.npy: two checks wrote different arrays" in said(result)


def test_files_that_no_test_uses_are_named_after_whole_runs_only(run, updated, write):
    write(CHECKS.replace('"codes"', '"renamed"') + CHECKS.replace("test_codes", "test_b"), value=4)
    run("--golden-update").assert_outcomes(passed=2)
    text = CHECKS.replace('"codes"', '"renamed"')
    write(text, value=4)
    result = run()
    result.assert_outcomes(passed=1)
    assert re.search(r"not used by any test: .*codes\.npy", said(result))
    assert "not used" not in said(run("test_unit.py::test_codes"))
    write(text + "\n    def test_other(golden): pass\n", value=4)
    assert "not used" not in said(run("-k", "test_codes"))
    write(text, value=5)
    assert "not used" not in said(run())


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_files_of_a_module_that_uses_none_any_more_are_named(run, updated, write, workers):
    write("def test_codes(): pass\n")
    result = run(*workers)
    result.assert_outcomes(passed=1)
    assert re.search(r"not used by any test: .*codes\.npy", said(result))
    assert "not used" not in said(run("test_unit.py::test_codes"))


def test_arrays_of_ones_own_are_not_named(run, write, pytester):
    golden_folder(pytester).mkdir(parents=True)
    np.save(golden_folder(pytester) / "own.npy", np.zeros(1))
    write("def test_codes(): pass\n")
    assert "not used" not in said(run())


def test_a_run_starts_without_anything_heavy(pytester):
    code = f"""
import sys, {MODULE}
heavy = {{"numpy", "numba", "torch", "pydantic", "aocq"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=pytester.path)


RUNS = """
    from pathlib import Path
    import numpy as np
    from simulator.graph import GraphBuilder, save
    from simulator.graph.ops import Rescale
    from simulator.numerics.integer_type import IntType, Overflow
    from simulator.numerics.rounding import Rounding

    def graph(rounding):
        builder, s8 = GraphBuilder("halves"), IntType(bits=8)
        name = builder.input("a", (5,), s8)
        for op in ("half", "quarter"):
            fields = {{"rounding": rounding, "overflow": Overflow.SATURATE, "type": s8}}
            name = builder.op(Rescale, op, name, multiplier=[1], shift=[1], **fields)
        return builder.build()

    def test_run(golden, tmp_path):
        made = graph(Rounding.{mode})
        codes = np.array([[-7, -1, 0, 1, 9]], np.int8)
        golden.check_run(made, codes, taps=["h*"])
        save(made, tmp_path / "graph")
        np.save(tmp_path / "codes.npy", codes)
        golden.check_run(str(tmp_path / "graph"), tmp_path / "codes.npy", name="again")
"""


def test_a_run_of_a_graph_is_checked_in_every_tensor_asked_for(run, write, pytester, numba_loaded):
    write(RUNS, mode="HALF_UP")
    run("--golden-update").assert_outcomes(passed=1)
    names = {path.name for path in golden_folder(pytester).glob("*.npy")}
    assert names == {"halves.half.npy", "halves.quarter.npy", "again.quarter.npy"}
    run().assert_outcomes(passed=1)
    assert np.load(golden_folder(pytester) / "halves.half.npy").tolist() == [[-3, 0, 0, 1, 5]]
    write(RUNS, mode="FLOOR")
    result = run()
    result.assert_outcomes(failed=1)
    assert "golden array 'halves.half': 4 of 5 values differ" in said(result)
    assert "first at [0, 0]: expected -3 (0xfd), got -4 (0xfc)" in said(result)
    assert "graph_sha256 was" in said(result)
    assert "inputs_sha256" not in said(result)
