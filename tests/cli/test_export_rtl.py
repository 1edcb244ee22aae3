# SPDX-License-Identifier: Apache-2.0
"""``aocq export rtl`` as a user meets it, without torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from command_line import Demo, Finished

Run = Callable[..., Finished]
OP = "blocks.0.mlp.act"


def test_a_folder_that_needs_nothing_else(demo: Demo, without_torch: Run, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    done = without_torch("export", "rtl", demo.folder, "--op", OP, "--images", 2, "--out", out)
    assert done.out == f"{out}: testbench of {OP}, 8704 results; make icarus, make verilator\n"
    names = {path.name for path in out.iterdir() if not path.name.startswith(".")}
    memories = {"a.hex", "expected.hex", "table.hex"}
    sources = {"testbench.sv", "lookup_device.sv", "lookup.sv"}
    assert names == {"Makefile", "README.md", "manifest.json", *memories, *sources}
    assert len((out / "expected.hex").read_text().split()) == 8704
    # What a simulation makes is hidden, and does not stand in the way of a new export.
    (out / ".build").mkdir()
    without_torch("export", "rtl", demo.folder, "--op", "add", "--out", out)
    assert not (out / "lookup.sv").exists()
    assert (out / "add.sv").exists()


def test_a_skeleton_that_was_filled_in_stays(
    demo: Demo, without_torch: Run, tmp_path: Path
) -> None:
    out = tmp_path / "bench"
    words = ("export", "rtl", demo.folder, "--op", OP, "--module", "my_gelu", "--out", out)
    without_torch(*words)
    module = out / "my_gelu.sv"
    mine = module.read_text().replace("// Your RTL.", "assign out_code = in_a;")
    module.write_text(mine)
    without_torch(*words, "--images", 2)
    assert module.read_text() == mine
    other = tmp_path / "other.sv"
    other.write_text("module my_gelu; endmodule\n")
    without_torch(*words, "--source", other)
    assert "my_gelu.sv" not in (out / "Makefile").read_text()
    assert "other.sv" in (out / "Makefile").read_text()


def test_golden_vectors(demo: Demo, without_torch: Run, tmp_path: Path) -> None:
    golden, out = tmp_path / "golden", tmp_path / "bench"
    record = ("golden", "record", demo.folder, "--ops", OP, "--images", 2, "--out", golden)
    without_torch(*record)
    without_torch("export", "rtl", "--golden", golden, "--op", OP, "--out", out)
    assert len((out / "expected.hex").read_text().split()) == 8704
    done = without_torch("export", "rtl", "--golden", golden, "--op", "head", "--out", out, code=3)
    assert "not in the golden folder" in done.err
    done = without_torch("export", "rtl", "--golden", golden, "--op", OP, "--out", golden, code=3)
    assert f"{golden}: holds golden vectors, as `aocq golden record`" in done.err
    result = golden / "tensors" / f"{OP}.npy"
    codes = np.load(result)
    codes.flat[0] ^= 1
    np.save(result, codes)
    done = without_torch("export", "rtl", "--golden", golden, "--op", OP, "--out", out, code=3)
    assert f"{result}: is not the file that was recorded" in done.err


def test_what_does_not_go_together(demo: Demo, without_torch: Run, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "bench")
    without_torch("export", "rtl", "--op", OP, *out, code=2)
    (tmp_path / "x.npy").touch()
    both = ("--golden", tmp_path, "--inputs", tmp_path / "x.npy")
    without_torch("export", "rtl", demo.folder, "--op", OP, *both, *out, code=2)
    source = ("--source", tmp_path / "x.sv")
    without_torch("export", "rtl", demo.folder, "--op", OP, *source, *out, code=2)
    done = without_torch(
        "export", "rtl", demo.folder, "--op", "blocks.0.attn.reshape", *out, code=3
    )
    assert "only moves codes" in done.err
    done = without_torch("export", "rtl", demo.folder, "--op", "nothing", *out, code=3)
    assert "no such op" in done.err
