# SPDX-License-Identifier: Apache-2.0
"""Records that were damaged or edited: refused by name, or shown as a run could have been."""

from __future__ import annotations

import json
import time
import warnings

import pytest
from mutations import byte_mutants, json_mutants, text_mutants

from aocq.records.accumulator_widths import (
    SWEEP_NAME,
    SweepRecord,
    SweepRow,
    load_sweep,
    save_sweep,
)
from aocq.records.gates import Gates, judged
from aocq.records.layers import LayerRow, layers_csv
from aocq.records.run_folder import LAYERS_NAME, RUN_NAME, load_record, load_run, save_run
from reports.accumulators import csv_text as sweep_csv
from reports.accumulators import figure
from reports.accumulators import markdown as sweep_markdown
from reports.markdown import markdown
from reports.page import html
from reports.rows import run_row
from reports.sweep_table import csv_text
from reports.sweep_table import markdown as table
from simulator.errors import InputError

COLUMNS = len(LayerRow.model_fields)
PAGES = 5  # of accepted mutants, per kind of file: figures take long


@pytest.fixture
def folder(costed, tmp_path):
    """A run with every field filled somewhere."""
    result, rows = costed
    sums = {"persistent": 0, "transient": 2, "changed": 2, "sum_bits": 20, "headroom_bits": 12}
    rows = [
        row.model_copy(update={"differing_codes": 1.5, **(sums if row.accumulator_bits else {})})
        for row in rows
    ]
    save_run(result, rows, tmp_path)
    return tmp_path


def shown(folder, said, pages):
    """Load a mutant and show it everywhere; return whether it was accepted."""
    start = time.monotonic()
    refusal = None
    try:
        result, rows = load_run(folder)
    except InputError as error:
        refusal = str(error)
    if refusal is not None:
        assert refusal.startswith(f"{folder}/"), said
        assert len(refusal) < 2000, said
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert markdown(result, rows).startswith("# "), said
            row = run_row(judged(result, Gates()), {"profile": result.profile.name}, "x")
            assert table("T", [row]), said
            assert csv_text([row]), said
            if pages:
                assert html(result, rows).rstrip().endswith("</html>"), said
        except Exception as error:
            raise AssertionError(said) from error
    assert time.monotonic() - start < 10, said
    return True


def attack(folder, name, mutants):
    accepted = refused = 0
    for said, text in mutants:
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        pages = accepted % 20 == 0 and accepted < 20 * PAGES
        if shown(folder, f"{name}: {said}", pages):
            accepted += 1
        else:
            refused += 1
    return accepted, refused


def test_run_json_is_refused_or_shown(folder):
    plain = json.loads((folder / RUN_NAME).read_text())
    mutants = ((said, json.dumps(x)) for said, x in json_mutants(plain, seed=4, count=600))
    accepted, refused = attack(folder, RUN_NAME, mutants)
    assert accepted > 30
    assert refused > 300


def test_layers_csv_is_refused_or_shown(folder):
    text = (folder / LAYERS_NAME).read_text()
    accepted, refused = attack(folder, LAYERS_NAME, text_mutants(text, seed=8, count=600))
    assert accepted > 15
    assert refused > 300


def test_damaged_bytes_are_refused_or_shown(folder):
    for name in (RUN_NAME, LAYERS_NAME):
        content = (folder / name).read_bytes()
        attack(folder, name, byte_mutants(content, seed=12, count=200))
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "38 ops, run.json says 39"),
        (lambda lines: [*lines[:5], *lines[6:]], "line 6: op number 5, wanted 4: a line is miss"),
        (lambda lines: [*lines[:5], lines[4], *lines[5:]], "line 6: op number 3, wanted 4"),
        (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], "line 3: op number 2"),
        (
            lambda lines: [*lines[:2], lines[2] + ",", *lines[3:]],
            f"line 3: {COLUMNS + 1} cells, wanted {COLUMNS}",
        ),
        (lambda lines: [*lines[:-1], lines[-1][:20]], f"cells, wanted {COLUMNS}"),
        (lambda lines: [*lines, ""], f"line 41: 0 cells, wanted {COLUMNS}"),
        (lambda lines: [lines[0] + ",index", *lines[1:]], "line 1: not the columns"),
        (lambda lines: [lines[0].replace("macs", "max"), *lines[1:]], "line 1: not the columns"),
        (lambda lines: [], "line 1: not the columns"),
        (lambda lines: [*lines[:3], lines[3].replace(",", ',"', 1)], "line 4: unexpected end"),
    ],
    ids=[
        *("cut", "missing", "doubled", "swapped", "longer", "torn", "empty_line"),
        *("twice", "renamed", "empty", "quote"),
    ],
)
def test_lines_that_are_no_table_of_the_run_are_named(folder, change, message):
    lines = (folder / LAYERS_NAME).read_text().splitlines()
    (folder / LAYERS_NAME).write_text("\n".join(change(lines)) + "\n" * bool(change(lines)))
    with pytest.raises(InputError, match=message):
        load_run(folder)


@pytest.mark.parametrize("value", ["nan", "inf", "-1e9", "1e999"])
def test_figures_that_are_no_numbers_are_refused(folder, run, value):
    _, rows = run
    text = layers_csv(rows)
    sqnr = str(rows[1].sqnr_db)
    assert text.count(f",{sqnr},") == 1
    (folder / LAYERS_NAME).write_text(text.replace(f",{sqnr},", f",{value},"))
    with pytest.raises(InputError, match=r"layers\.csv: .*line 3: sqnr_db"):
        load_run(folder)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"top1": 82.75', '"top1": NaN'),
        ('"top1": 82.75', '"top1": 82.75, "top1": 1.0'),
        ('"top1": 82.75', '"top1": 182.75'),
        ('"top1": 82.75', '"top1": "82.75"'),
        ('"top1": 82.75', '"top1": 1e999'),
        ('"images": 400', '"images": 0'),
        ('"parameters": 5717416', '"parameters": -1'),
        ('"clock_mhz": 500.0', '"clock_mhz": 1e300'),
        ('"name": "minmax"', '"name": "min\\u001b[2Jmax"'),
        ('"images": 400', '"images": true'),
        ('"seed": 0', '"seed": 0.5'),
        ('"fps": ', '"fps": -'),
        ('"recipe": {', '"recipe": {"a": 1e400, '),
    ],
)
def test_a_record_holds_what_a_run_can_be(folder, old, new):
    text = (folder / RUN_NAME).read_text()
    assert text.count(old) == 1
    (folder / RUN_NAME).write_text(text.replace(old, new))
    with pytest.raises(InputError, match=r"run\.json: not a run of format 1"):
        load_record(folder)


def test_older_records_still_load(folder, run):
    """Without what later versions added: columns of layers.csv, data, notes, reported sums."""
    result, rows = run
    save_run(result, rows, folder)
    plain = json.loads((folder / RUN_NAME).read_text())
    for key in ("data", "notes", "distributions", "buffers", "peak", "ports", "lifts", "caveats"):
        del plain[key]
    del plain["overflow"]["reported"]
    (folder / RUN_NAME).write_text(json.dumps(plain))
    lines = [line.split(",") for line in layers_csv(list(rows)).splitlines()]
    late = {"differing_codes", "persistent", "sum_bits", "arithmetic"}
    kept = [place for place, name in enumerate(lines[0]) if name not in late]
    text = "\n".join(",".join(line[place] for place in kept) for line in lines) + "\n"
    (folder / LAYERS_NAME).write_text(text)
    loaded, found = load_run(folder)
    assert loaded == result
    assert found[0].differing_codes is None


@pytest.fixture
def sweep():
    counts = {
        "top1": 50.0,
        "agreement": 75.0,
        "outputs": 1000,
        "overflowing": 3,
        "least_headroom_bits": -2,
        "first_persistent": 1,
        "first_transient": 2,
        "seconds": 1.5,
    }
    none = {"persistent": 0, "transient": 0, "changed": 0}
    rows = [
        SweepRow(
            bits=12,
            overflow=rule,
            graph_sha256="ab",
            persistent=7,
            transient=5,
            changed=7,
            **counts,
        )
        for rule in ("wrap", "saturate")
    ]
    rows.append(SweepRow(bits=20, overflow="wrap", graph_sha256="cd", **none, **counts))
    proven = {"graph_sha256": None, "same_as": (20, "wrap"), **none}
    rows.append(SweepRow(bits=24, overflow="saturate", **proven, **counts))
    return SweepRecord(
        command=["aocq", "accumulators"],
        key="k",
        model="vit_nano",
        method="base_ptq",
        weight_bits=8,
        activation_bits=8,
        profile="edge_npu_int8",
        graph_sha256="cd" * 32,
        accumulators=14,
        images=4,
        skipped_images=1,
        exact_score=75.0,
        exact_classes=[1, 2, 3, 4],
        rows=rows,
    )


def test_a_sweep_is_unreadable_or_shown(sweep, tmp_path):
    save_sweep(sweep, tmp_path)
    path = tmp_path / SWEEP_NAME
    text = path.read_text()
    variants = [(said, json.dumps(x)) for said, x in json_mutants(json.loads(text), 6, 500)]
    variants += [(said, x) for said, x in byte_mutants(text.encode(), seed=6, count=200)]
    accepted = 0
    for said, mutant in variants:
        path.write_bytes(mutant if isinstance(mutant, bytes) else mutant.encode())
        found = load_sweep(tmp_path)
        if found is None:
            continue
        accepted += 1
        assert sweep_markdown(found).startswith("# Accumulator widths"), said
        assert sweep_csv(found), said
        if accepted % 20 == 0:
            assert figure(found).png, said
    assert 16 < accepted < 230
