"""The emulator's integers stay what they were when the RTL was signed off."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_graph_computes_the_same_codes(golden):
    """Every value of the layer and of the output, for six images."""
    golden.check_run(ROOT / "graph", ROOT / "stimulus.npy", taps=["layer"])
