# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from functools import reduce
from operator import getitem
from pathlib import Path

import numpy as np
import pytest
from fuzzed_graphs import META, alone, classifier, lay_out, one_op_of_every_type, write
from safetensors.numpy import load_file, save_file
from small_graphs import (
    SATURATE,
    Draft,
    encoder_block,
    with_codes,
    with_op,
    with_tensor,
)

import simulator
from simulator.errors import InputError
from simulator.graph import IntGraph, load, save, sha256, text, verify
from simulator.graph.ops import (
    Dequantize,
    GroupExponent,
    GroupMaximum,
    GroupShift,
    Hadamard,
    Lookup,
    Mul,
    Rescale,
    Reshape,
    SoftmaxFloatTable,
)
from simulator.graph.storage import JSON_NAME, TENSORS_NAME, canonical_json
from simulator.numerics.accumulator import BiasStage
from simulator.numerics.integer_type import Overflow
from simulator.numerics.rescaling import Arithmetic, LeftShift, ZeroPointStage
from simulator.numerics.rounding import DoubleRounding, Rounding
from simulator.numerics.softmax_normalisation import Normalisation


@pytest.fixture
def folder(tmp_path, block):
    save(block, tmp_path / "saved")
    return tmp_path / "saved"


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def assert_refused(path, *fragments):
    with pytest.raises(InputError) as caught:
        load(path)
    message = str(caught.value)
    for fragment in (str(path), *fragments):
        assert fragment in message, message
    return message


def load_or_message(path):
    """Return the graph, or the message of its InputError; let any other exception through."""
    try:
        return load(path)
    except InputError as error:
        return str(error)


# --- there and back -------------------------------------------------------------------------------


def test_a_loaded_graph_is_the_saved_one(folder, block):
    loaded = load(folder)
    for field in fields(IntGraph):
        if field.name != "constants":
            assert getattr(loaded, field.name) == getattr(block, field.name), field.name
    assert loaded.constants.keys() == block.constants.keys()
    for name, codes in block.constants.items():
        assert loaded.constants[name].dtype == codes.dtype
        assert loaded.constants[name].tolist() == codes.tolist()


def test_a_slice_of_neighbours_is_written_as_before_it_had_a_step(tmp_path):
    """So files from then load, and hashes stay."""
    lines = {}
    for step in (1, 2):
        d = Draft()
        d.input("a", (4, 3))
        graph = d.slice("y", "a", 0, 4, step) and d.graph()
        save(graph, tmp_path / str(step))
        assert load(tmp_path / str(step)).ops == graph.ops
        text = (tmp_path / str(step) / JSON_NAME).read_text(encoding="utf-8")
        (lines[step],) = (line for line in text.splitlines() if '"start"' in line)
    assert '"step"' not in lines[1]
    assert '"step": 2' in lines[2]


def test_saving_again_gives_the_same_bytes_and_hash(folder, block, tmp_path):
    loaded = load(folder / JSON_NAME)
    digest = save(loaded, tmp_path / "again")
    assert bytes_of(tmp_path / "again") == bytes_of(folder)
    assert set(bytes_of(folder)) == {JSON_NAME, TENSORS_NAME}
    assert digest == sha256(block) == sha256(loaded)
    assert digest == hashlib.sha256((folder / JSON_NAME).read_bytes()).hexdigest()


def test_another_process_writes_the_same_bytes(folder, tmp_path):
    program = (
        "import sys\n"
        f"sys.path[:0] = [{str(Path(simulator.__file__).parent.parent)!r}, "
        f"{str(Path(__file__).parent.parent)!r}]\n"
        "from pathlib import Path\n"
        "from small_graphs import encoder_block\n"
        "from simulator.graph import save\n"
        f"print(save(encoder_block(), Path({str(tmp_path / 'other')!r})))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert bytes_of(tmp_path / "other") == bytes_of(folder)
    assert done.stdout.strip() == sha256(encoder_block())


def test_the_order_of_tensors_and_constants_does_not_matter(block):
    shuffled = replace(
        block,
        tensors=dict(reversed(block.tensors.items())),
        constants=dict(reversed(block.constants.items())),
    )
    assert sha256(shuffled) == sha256(block)


def test_views_and_other_byte_orders_are_the_same_codes(block, tmp_path):
    name = "qkv.weight"
    column_major = np.asfortranarray(block.constants[name])
    assert sha256(with_codes(block, name, column_major)) == sha256(block)
    swapped = block.constants["qkv.bias"].astype(">i4")
    assert sha256(with_codes(block, "qkv.bias", swapped)) == sha256(block)
    save(with_codes(block, name, column_major), tmp_path)
    assert load(tmp_path).constants[name].tolist() == column_major.tolist()


def test_saving_over_another_graph_replaces_it(folder, block):
    other = with_op(block, "add1", shift=5)
    assert save(other, folder) == sha256(other) != sha256(block)
    assert load(folder).ops == other.ops


def test_text_is_one_line_per_op_and_tensor(block):
    lines = canonical_json(block).splitlines()
    assert sum(line.startswith('{"') and '"op": "' in line for line in lines) == len(block.ops)
    assert sum('"role": ' in line for line in lines) == len(block.tensors)
    assert lay_out(json.loads(canonical_json(block))) == canonical_json(block)


def test_folders_may_have_any_name_and_meta_any_text(tmp_path):
    arguments = json.dumps({"Größe": 'die "1"'}, ensure_ascii=False)
    graph = classifier({**META, "model_arguments": arguments})
    save(graph, tmp_path / "ö ß")
    assert load(tmp_path / "ö ß").meta == graph.meta
    assert sha256(load(tmp_path / "ö ß")) == sha256(graph)


def test_a_graph_that_breaks_a_rule_is_not_saved(folder, block):
    before = bytes_of(folder)
    for wrong in (with_op(block, "add1", shift=63), with_tensor(block, "image", scale=(np.nan,))):
        with pytest.raises(InputError, match="graph small: not a valid graph: "):
            save(wrong, folder)
    assert bytes_of(folder) == before


# --- everything counts ----------------------------------------------------------------------------


def changed_graphs(graph):
    """One graph for every field of the graph, of each op and of each tensor."""
    yield "name", replace(graph, name="other")
    yield "profile", replace(graph, profile="other")
    yield "meta", replace(graph, meta={"classes": "5"})
    yield "outputs", replace(graph, outputs=("head", "mean"))
    yield "inputs", replace(graph, inputs=())
    yield "ops", replace(graph, ops=(*graph.ops[:5], *graph.ops[6:]))
    other = {
        int: lambda value: value + 1,
        bool: lambda value: not value,
        str: lambda value: value + "x",
        type(None): lambda _: "something",
        tuple: lambda value: value[::-1] if value != value[::-1] else (*value, *value),
        Rounding: lambda _: Rounding.FLOOR,
        Overflow: lambda _: Overflow.WRAP,
        Normalisation: lambda _: Normalisation.DIVISION,
        DoubleRounding: lambda _: DoubleRounding.ASYMMETRIC,
        ZeroPointStage: lambda _: ZeroPointStage.BEFORE_ROUND,
        LeftShift: lambda _: LeftShift.WRAP,
        Arithmetic: lambda _: Arithmetic.FLOAT32,
    }
    for op in graph.ops:
        for field in fields(op):
            value = getattr(op, field.name)
            if type(value) in other:
                changed = with_op(graph, op.name, **{field.name: other[type(value)](value)})
                yield f"{op.name}.{field.name}", changed
            elif field.name == "requantize":
                for part in fields(value):
                    inner = getattr(value, part.name)
                    again = replace(value, **{part.name: other[type(inner)](inner)})
                    yield f"{op.name}.{part.name}", with_op(graph, op.name, requantize=again)
            else:
                assert field.name == "accumulator"
                again = replace(value, bias=BiasStage.AFTER_LAST_BLOCK)
                yield f"{op.name}.bias", with_op(graph, op.name, accumulator=again)
                for part, new in (("group", 77), ("bits", 33), ("overflow", SATURATE)):
                    if getattr(value.levels[-1], part) != new:
                        level = replace(value.levels[-1], **{part: new})
                        again = replace(value, levels=(*value.levels[:-1], level))
                        yield f"{op.name}.{part}", with_op(graph, op.name, accumulator=again)
    for name, tensor in graph.tensors.items():
        yield f"{name}.shape", with_tensor(graph, name, shape=(*tensor.shape, 1))
        yield f"{name}.type", with_tensor(graph, name, type=replace(tensor.type, bits=13))
        yield f"{name}.zero_point", with_tensor(graph, name, zero_point=tensor.zero_point + 1)
        yield f"{name}.scale", with_tensor(graph, name, scale=(0.25,))


def test_every_field_changes_the_hash(block):
    seen = {sha256(block): "the graph itself"}
    for what, graph in changed_graphs(block):
        digest = sha256(graph)
        assert digest not in seen, f"{what} has the hash of {seen[digest]}"
        seen[digest] = what
    assert len(seen) > 400


def test_every_code_changes_the_hash(block):
    seen = {sha256(block)}
    for name, codes in block.constants.items():
        for index in (0, codes.size - 1):
            changed = codes.copy()
            changed.flat[index] ^= 1
            seen.add(sha256(with_codes(block, name, changed)))
    sizes = [min(codes.size, 2) for codes in block.constants.values()]
    assert len(seen) == 1 + sum(sizes)


# --- files that are not graphs --------------------------------------------------------------------


@pytest.mark.parametrize("name", [JSON_NAME, TENSORS_NAME])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert_refused(folder, name, "not found")


def test_a_missing_folder_is_named(tmp_path):
    assert_refused(tmp_path / "nowhere", "not found")
    (tmp_path / "file").write_text("")
    assert_refused(tmp_path / "file" / "graph.json", "cannot be read")


@pytest.mark.parametrize("name", [JSON_NAME, TENSORS_NAME])
def test_a_folder_in_place_of_a_file_is_an_error(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    assert_refused(folder, name)


@pytest.mark.parametrize("name", [JSON_NAME, TENSORS_NAME])
def test_truncated_files_are_refused_wherever_they_end(folder, name):
    whole = (folder / name).read_bytes()
    for length in [0, 1, 7, 8, 9, len(whole) // 2, len(whole) - 2, len(whole) - 1]:
        (folder / name).write_bytes(whole[:length])
        assert_refused(folder, name)


@pytest.mark.parametrize("name", [JSON_NAME, TENSORS_NAME])
def test_any_changed_byte_is_refused(folder, name):
    whole = (folder / name).read_bytes()
    for position in range(0, len(whole), max(1, len(whole) // 150)):
        changed = bytearray(whole)
        changed[position] ^= 1
        (folder / name).write_bytes(changed)
        found = load_or_message(folder)
        if isinstance(found, str):
            assert str(folder) in found
        else:  # another valid graph, for instance with a letter changed in a name
            assert name == JSON_NAME
            assert sha256(found) == hashlib.sha256(changed).hexdigest()


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", "null", '"graph"', "{}", '{"format": 1}', "\ufeff{}", "\x00", "[" * 10**5],
)
def test_other_json_is_refused(folder, content):
    (folder / JSON_NAME).write_text(content, encoding="utf-8")
    assert_refused(folder, JSON_NAME)


def test_bytes_that_are_not_text_are_refused(folder):
    (folder / JSON_NAME).write_bytes(b"\xff\xfe{}")
    assert_refused(folder, JSON_NAME, "not a graph")


def test_white_space_and_order_count(folder):
    path = folder / JSON_NAME
    whole = path.read_text(encoding="utf-8")
    indented = json.dumps(json.loads(whole), indent=1)
    for changed in (
        indented,
        whole + "\n",
        whole.replace(", ", ",", 1),
        whole.replace("\n", "\r\n"),
    ):
        path.write_bytes(changed.encode())
        assert_refused(folder, "canonical form")


def test_the_constants_of_another_graph_are_refused(folder, block, tmp_path):
    other = with_codes(block, "head.bias", block.constants["head.bias"] + 1)
    save(other, tmp_path / "other")
    (folder / TENSORS_NAME).write_bytes((tmp_path / "other" / TENSORS_NAME).read_bytes())
    assert_refused(folder, "belongs to another graph")
    d = Draft()
    d.input("a", (1, 2))
    d.op(Rescale, "y", "a")
    save(d.graph(), tmp_path / "other")
    (folder / TENSORS_NAME).write_bytes((tmp_path / "other" / TENSORS_NAME).read_bytes())
    assert_refused(folder, JSON_NAME)


def test_missing_extra_and_retyped_constants_are_refused(folder):
    path = folder / TENSORS_NAME
    codes = load_file(path)
    save_file({name: array for name, array in codes.items() if name != "head.bias"}, path)
    assert_refused(folder, "head.bias")
    save_file({**codes, "extra": np.zeros(2, np.int8)}, path)
    assert_refused(folder, "constant extra: must have both")
    save_file({**codes, "head.bias": codes["head.bias"].astype(np.int64)}, path)
    assert_refused(folder)
    save_file({**codes, "head.bias": codes["head.bias"].astype(np.float32)}, path)
    assert_refused(folder)
    save_file({**codes, "head.weight": codes["head.weight"].T.copy()}, path)
    assert_refused(folder)


def test_another_format_is_refused(folder):
    path = folder / JSON_NAME
    path.write_text(path.read_text(encoding="utf-8").replace('"format": 1', '"format": 2', 1))
    assert_refused(folder, "format 2: this version reads format 1")


def test_a_graph_that_breaks_a_rule_is_refused_with_the_rule(folder, block):
    (folder / JSON_NAME).write_text(canonical_json(with_op(block, "add1", shift=63)))
    assert_refused(folder, "op add1 (add): shift 63: must be 0..62")


def test_only_the_first_broken_rules_are_told(folder, block):
    plain = json.loads(canonical_json(block))
    for entry in plain["tensors"]:
        entry["zero_point"] = 1 << 62
    write(plain, folder)
    message = assert_refused(folder, "has zero point 4611686018427387904", "; and ")
    assert len(message) < 2000


def test_pipes_are_not_waited_for(folder):
    for name in (JSON_NAME, TENSORS_NAME):
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        os.mkfifo(folder / name)
        assert_refused(folder, f"{name}: is a named pipe")
        (folder / name).unlink()
        (folder / name).write_bytes(content)


def test_every_key_is_there_once(folder):
    path = folder / JSON_NAME
    text = path.read_text(encoding="utf-8")
    twice = text.replace('"axis": 0,', '"axis": 0, "axis": 0,', 1)
    assert twice != text
    path.write_text(twice, encoding="utf-8")
    assert_refused(folder, "canonical form")


@pytest.mark.parametrize("number", ["1e400", "NaN", "-Infinity", "9" * 5000, str(1 << 63)])
def test_numbers_have_an_end(folder, number):
    path = folder / JSON_NAME
    text = path.read_text()
    path.write_text(text.replace('"epsilon": 1,', f'"epsilon": {number},', 1))
    message = assert_refused(folder)
    assert len(message) < 500
    assert "not JSON" in message if len(number) > 4300 else "op norm1: epsilon: " in message


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3", "F4", "X9"])
def test_types_that_numpy_does_not_have_are_refused(folder, kind):
    header = json.dumps({"head.bias": {"dtype": kind, "shape": [1], "data_offsets": [0, 8]}})
    content = len(header).to_bytes(8, "little") + header.encode() + bytes(8)
    (folder / TENSORS_NAME).write_bytes(content)
    assert_refused(folder, TENSORS_NAME, "damaged")


# --- edited values --------------------------------------------------------------------------------


def paths_of(value, path=()):
    """Yield where every value lies that is inside another."""
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from paths_of(item, (*path, key))


JUNK = [None, True, -1, 0, 63, 10**30, 1.5, "s64", "a", [], ["a", 3], {}]
TENSORS_TO_EDIT = {"a", "w", "matmul", "matmul.shift", "softmax.table", "transpose"}


# Every edit of their fields is refused; shifts, epsilons and flags of others make other graphs.
WITHOUT_CHOICES = {
    *(Dequantize, Lookup, Mul, Rescale, Reshape, SoftmaxFloatTable),
    *(GroupExponent, GroupMaximum, GroupShift, Hadamard),
}


def edits(plain, wanted):
    """Edit a graph's JSON in place, one value at a time, and yield the text of each edit."""
    for where in [*filter(wanted, paths_of(plain))]:
        *parents, key = where
        parent = reduce(getitem, parents, plain)
        before = copy.copy(parent)
        for junk in JUNK:
            parent[key] = junk
            yield lay_out(plain)
        del parent[key]
        yield lay_out(plain)
        if isinstance(parent, dict):
            parent.clear()
            parent.update(before)
        else:
            parent[:] = before


def accepted_edits(graph, folder, wanted):
    """Hold every edit to a message or a graph that can be used; return how many are graphs."""
    save(graph, folder)
    path = folder / JSON_NAME
    whole = path.read_text(encoding="utf-8")
    plain = json.loads(whole)
    accepted = 0
    for edited in edits(plain, wanted):
        path.write_text(edited, encoding="utf-8")
        found = load_or_message(folder)
        if isinstance(found, str):
            assert str(path) in found
        else:
            accepted += 1
            assert verify(found) == []
            assert text(found)
            assert canonical_json(found) == edited
    assert lay_out(plain) == whole
    return accepted


def test_no_edited_value_of_a_graph_gives_a_traceback(tmp_path):
    graph = one_op_of_every_type()
    names = sorted(graph.tensors)

    def wanted(where):
        tensor = where[0] != "tensors" or len(where) == 1 or names[where[1]] in TENSORS_TO_EDIT
        return tensor and (where[0] != "ops" or len(where) < 3)

    assert accepted_edits(graph, tmp_path, wanted) > 1


@pytest.mark.parametrize("op", one_op_of_every_type().ops, ids=lambda op: op.name)
def test_no_edited_value_of_an_op_gives_a_traceback(op, tmp_path):
    """In a graph that ends with it, and that is read more quickly than one of all ops."""
    graph = alone(op, one_op_of_every_type())
    last = len(graph.ops) - 1
    found = accepted_edits(graph, tmp_path, lambda w: w[:2] == ("ops", last) and len(w) > 2)
    assert found > 0 or type(op) in WITHOUT_CHOICES
