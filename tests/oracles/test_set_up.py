# SPDX-License-Identifier: Apache-2.0
"""The oracles' set-up itself: missing ones, failing ones, counts."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import environments
import install
import messages
import numpy as np
import pytest
from oracle_process import OracleError, OracleProcess
from presence import need
from tally import COUNTS, Tally, summary

from simulator.export.tflite_file import TfliteFile


@pytest.fixture
def no_oracles(monkeypatch, tmp_path):
    monkeypatch.setenv(environments.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(environments, "GEMMLOWP_HEADER", tmp_path / "fixedpoint.h")
    monkeypatch.setattr(environments, "torch_engines", list)
    monkeypatch.delenv(environments.REQUIRED_VARIABLE, raising=False)


@pytest.mark.parametrize("oracle", list(environments.MISSING))
def test_a_missing_oracle_is_a_skip_with_its_reason(no_oracles, oracle):
    with pytest.raises(pytest.skip.Exception, match=r"make oracles|apt-get install|install torch"):
        need(oracle)


@pytest.mark.parametrize("oracle", list(environments.MISSING))
def test_a_missing_oracle_is_a_failure_where_oracles_are_required(no_oracles, oracle, monkeypatch):
    monkeypatch.setenv(environments.REQUIRED_VARIABLE, "1")
    with pytest.raises(pytest.fail.Exception, match=r"make oracles|apt-get install|install torch"):
        need(oracle)


def test_zero_does_not_require_oracles(no_oracles, monkeypatch):
    monkeypatch.setenv(environments.REQUIRED_VARIABLE, "0")
    with pytest.raises(pytest.skip.Exception):
        need("tosa")


def test_a_present_oracle_is_neither(no_oracles, tmp_path):
    package = tmp_path / "lite" / "lib" / "python3.11" / "site-packages" / "ai_edge_litert"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (tmp_path / "lite" / "bin").mkdir()
    (tmp_path / "lite" / "bin" / "python").touch()
    need("lite")
    with pytest.raises(pytest.skip.Exception, match="tflite-micro"):
        need("tflm")


def test_what_is_installed_is_left_alone(no_oracles, monkeypatch, tmp_path):
    monkeypatch.setattr(install.venv, "create", lambda *_, **__: pytest.fail("made again"))
    for environment in install.REQUIREMENTS:
        (tmp_path / environment).mkdir()
        (tmp_path / environment / ".installed").write_text(install._wanted(environment))
    install.main()


@pytest.mark.parametrize("gone", ["tflite_micro.txt", "lite.txt"])
def test_only_an_optional_package_may_be_gone_from_the_registry(
    no_oracles, monkeypatch, tmp_path, capsys, gone
):
    monkeypatch.setattr(install.venv, "create", lambda place, **_: place.mkdir())
    monkeypatch.setattr(install, "_pip", lambda _, file: int(file == gone))
    if gone == "lite.txt":
        with pytest.raises(SystemExit, match=r"lite\.txt cannot be installed"):
            install.install("lite")
    else:
        install.install("lite")
        assert "tflite_micro.txt cannot be installed" in capsys.readouterr().err
    assert not (tmp_path / "lite" / ".installed").exists()


def test_arrays_survive_a_message():
    stream = io.BytesIO()
    arrays = {
        "scalar": np.float32(0.1),
        "empty": np.zeros((0, 3), np.int8),
        "reversed": np.arange(6, dtype=np.int16).reshape(2, 3)[:, ::-1],
        "wide": np.array([-(1 << 63)]),
    }
    messages.send(stream, {"request": "µ"}, arrays)
    stream.seek(0)
    header, received = messages.receive(stream)
    assert header == {"request": "µ"}
    for name, array in arrays.items():
        assert received[name].dtype == array.dtype
        assert received[name].shape == np.shape(array)
        assert np.array_equal(received[name], array)
    with pytest.raises(EOFError):
        messages.receive(stream)


@pytest.fixture
def script(monkeypatch, tmp_path):
    """Return a function that starts a process with one handler."""

    def start(handler):
        path = tmp_path / "process.py"
        path.write_text(
            f"import os, sys\nsys.path.insert(0, {str(environments.HERE)!r})\n"
            "from messages import serve\n"
            f"def handler(header, arrays):\n    {handler}\n"
            "serve(sys.stdin.buffer, sys.stdout.buffer, {'ask': handler})\n"
        )
        return OracleProcess(Path(sys.executable), str(path))

    return start


def test_what_an_oracle_raises_reaches_the_test(script):
    with script("raise ValueError('no such operator')") as process:
        for _ in range(2):  # it goes on after an error
            with pytest.raises(OracleError, match="ValueError: no such operator"):
                process.ask({"request": "ask"}, {})


def test_a_process_that_dies_says_what_it_printed(script):
    with (
        script("os.write(2, b'out of memory'); os._exit(3)") as process,
        pytest.raises(OracleError, match="code 3\nout of memory"),
    ):
        process.ask({"request": "ask"}, {})


def test_an_answer_that_is_no_array_is_an_error(script):
    with script("return {'y': [None]}") as process, pytest.raises(OracleError, match="no array"):
        process.ask({"request": "ask"}, {})


def test_constants_must_fit_their_type():
    model = TfliteFile()
    with pytest.raises(ValueError, match="does not fit int8"):
        model.tensor("w", "int8", data=[128])
    model.tensor("w", "int8", data=[127])
    with pytest.raises(ValueError, match="there already"):
        model.tensor("w", "int8", data=[1])


def test_a_tally_notices_mismatches_too_few_results_and_rules_that_do_not_matter():
    recorded = []
    tally = Tally("oracle", "row", lambda *names, **counts: recorded.append((names, counts)))
    tally.add(np.array([1, 2]), np.array([1, 2]), {"other": np.array([1, 3])})
    tally.check(at_least=2)
    assert recorded == [(("oracle", "row"), {"compared": 2, "mismatches": 0})]
    with pytest.raises(AssertionError):
        tally.check(at_least=3)
    tally.add(np.array([1]), np.array([1]), {"same": np.array([1])})
    with pytest.raises(AssertionError, match=r"would pass, too: \['same'\]"):
        tally.check(at_least=2)
    tally.add(np.array([[5], [7]]), np.array([[5], [8]]))
    with pytest.raises(AssertionError, match=r"1 of 5, first at \(1, 0\).*7, ours 8"):
        tally.check(at_least=2)


def test_the_summary_adds_up_the_counts_of_all_tests():
    tests = [
        [(COUNTS, ["TOSA", "RESCALE", 10, 0]), ("else", 1)],
        [(COUNTS, ["TOSA", "RESCALE", 5, 2])],
        [(COUNTS, ["LiteRT", "ADD", 2000, 0])],
        [],
    ]
    assert [line.split() for line in summary(tests)] == [
        ["LiteRT", "ADD", "2,000", "compared", "0", "mismatches"],
        ["TOSA", "RESCALE", "15", "compared", "2", "mismatches"],
    ]
