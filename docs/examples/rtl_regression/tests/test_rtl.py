"""Our RTL computes the emulator's integers, and the same ones as last time."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
AOCQ = (sys.executable, "-m", "aocq")


def run(*words):
    """Run a command; its output is part of the message if it fails."""
    ended = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{words[0]}:\n{ended.stdout}\n{ended.stderr}"


@pytest.fixture(scope="session")
def vectors(tmp_path_factory):
    """Golden vectors of the layer: operands, accumulators, results."""
    folder = tmp_path_factory.mktemp("vectors") / "golden"
    given = ("--inputs", ROOT / "stimulus.npy", "--images", 6, "--format", "hex")
    run(*AOCQ, "golden", "record", ROOT / "graph", "--ops", "layer", *given, "--out", folder)
    return folder


@pytest.fixture(scope="session")
def dump(vectors, tmp_path_factory):
    """What the RTL makes of the golden operands, by Icarus Verilog."""
    if shutil.which("iverilog") is None:
        pytest.skip("iverilog is not installed")
    folder = tmp_path_factory.mktemp("dump")
    sources = [ROOT / "rtl" / name for name in ("layer.v", "layer_tb.v")]
    run("iverilog", "-g2012", "-Wall", "-o", folder / "layer.vvp", *sources)
    run("vvp", folder / "layer.vvp", f"+vectors={vectors / 'hex'}", f"+dump={folder}")
    return folder


def test_the_rtl_equals_the_golden_vectors(vectors, dump):
    """A difference is told with its operands and with the mistake that makes it."""
    run(*AOCQ, "golden", "check", vectors, dump, "--ops", "layer", "--junit", dump / "junit.xml")


def test_the_rtl_computes_what_it_did(golden, dump):
    """Against the file in the repository, whatever the emulator says today."""
    words = (dump / "layer.hex").read_text().split()
    codes = np.array([int(word, 16) for word in words], np.uint8).view(np.int8)
    golden.check("layer", codes.reshape(6, 5, 8))
