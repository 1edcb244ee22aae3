"""The emulator's integers stay what they were when the RTL was signed off."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_graph_computes_the_same_codes(golden):
    golden.check_run(ROOT / "graph", ROOT / "stimulus.npy", taps=["layer"])
