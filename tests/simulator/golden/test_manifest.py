# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import numpy as np
import pytest
from one_op_graphs import CASES, operands_for
from small_graphs import Draft

from simulator.errors import InputError
from simulator.golden import files, one_op
from simulator.golden.manifest import (
    MANIFEST_NAME,
    ArrayRole,
    Kind,
    Manifest,
    OpEntry,
    array_names,
    manifest_text,
    parse_manifest,
    read_manifest,
    write_manifest,
)
from simulator.graph.ops import Rescale

FIRST_CASES = [
    pytest.param(kind, next(iter(cases)), id=kind.__name__) for kind, cases in CASES.items()
]
RESCALE = (Rescale, next(iter(CASES[Rescale])))


def one_case(kind, name):
    d = Draft()
    CASES[kind][name](d)
    graph = d.graph()
    return one_op.of_graph(graph, graph.ops[-1].name), operands_for(graph)


def written(one, operands, folder):
    """A folder with one op: its operands, constants and result."""
    described, arrays = {}, {}
    codes = {**one.graph.constants, **operands, one.op.name: one_op.run_kernel(one, operands).codes}
    for key, name in array_names(one.op).items():
        constant = one.graph.is_constant(name)
        path = files.constant_path(name) if constant else files.tensor_path(name)
        files.save_array(folder / path, codes[name])
        tensor = one.graph.tensors[name]
        role = ArrayRole.CONSTANT if constant else ArrayRole.OPERAND
        if key == "result":
            role = ArrayRole.RESULT
        described[path] = files.describe(folder / path, tensor.type, role, tensor)
        arrays[key] = path
    manifest = Manifest(
        kind=Kind.STIMULUS,
        graph=None,
        images=3,
        word_bits=None,
        files=described,
        ops=(OpEntry.of(one.op, arrays),),
    )
    write_manifest(manifest, folder)
    return manifest


@pytest.fixture
def folder(tmp_path):
    written(*one_case(*RESCALE), tmp_path)
    return tmp_path


@pytest.mark.parametrize(("kind", "name"), FIRST_CASES)
def test_an_op_is_rebuilt_from_its_entry_and_files(kind, name, tmp_path):
    one, operands = one_case(kind, name)
    manifest = written(one, operands, tmp_path)
    assert read_manifest(tmp_path) == manifest
    files.check_files(tmp_path, manifest)
    (entry,) = manifest.ops
    again = one_op.of_entry(manifest, entry, tmp_path)
    found = one_op.operands_of_entry(manifest, entry, tmp_path)
    one_op.check_operands(again, found)
    assert again.op == one.op
    assert again.graph.tensors.keys() == one.graph.tensors.keys()
    before = one_op.run_kernel(one, operands).codes
    assert one_op.run_kernel(again, found).codes.tolist() == before.tolist()


def test_keys_of_arrays_are_unique_and_none_is_lost():
    for kind, cases in CASES.items():
        for name in cases:
            op = one_case(kind, name)[0].op
            named = array_names(op)
            assert {*named.values()} == {*op.operands, *op.constants, op.name}
            assert len(named) == len(op.operands) + len(op.constants) + 1


def test_the_text_is_canonical(folder):
    text = (folder / MANIFEST_NAME).read_text()
    assert manifest_text(parse_manifest(text)) == text
    assert [*json.loads(text)] == sorted(json.loads(text))


def changed(folder, change):
    path = folder / MANIFEST_NAME
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda m: m.update(colour=1), "colour: Unexpected keyword argument"),
        (lambda m: m.update(format=2), "format"),
        (lambda m: m.pop("images"), "images"),
        (lambda m: m.update(images="3"), "images"),
        (lambda m: m.update(kind="other"), "kind"),
        (lambda m: m["ops"][0]["fields"].update(colour=1), "colour: no field of"),
        (lambda m: m["ops"][0]["arrays"].pop("a"), "arrays has no a"),
        (lambda m: m["ops"][0]["arrays"].update(a="tensors/other.npy"), "is not in files"),
        (lambda m: m["ops"][0]["arrays"].update(a="../a.npy"), "arrays"),
        (lambda m: m["ops"][0].update(op="Product"), "unknown"),
        (lambda m: m["ops"].append(m["ops"][0]), "two have one name"),
        (lambda m: m["files"].update({"/etc/a.npy": {}}), "files"),
    ],
)
def test_what_is_no_manifest_is_refused(folder, change, told):
    changed(folder, change)
    with pytest.raises(InputError, match="not the manifest of a golden folder") as error:
        read_manifest(folder)
    assert told in str(error.value)


def test_a_key_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        parse_manifest('{"format": 1, "format": 1}')


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(InputError, match="golden record"):
        read_manifest(tmp_path)


def test_an_altered_file_is_found(folder):
    manifest = read_manifest(folder)
    path = next(iter(manifest.files))
    array = np.load(folder / path)
    array.flat[0] ^= 1
    np.save(folder / path, array)
    with pytest.raises(InputError, match="is not the file that was recorded"):
        files.check_files(folder, manifest)
    (folder / path).unlink()
    with pytest.raises(InputError, match="not found, but the manifest names it"):
        files.check_files(folder, manifest)


def test_a_file_of_another_shape_is_refused(folder):
    manifest = read_manifest(folder)
    (entry,) = manifest.ops
    np.save(folder / entry.arrays["a"], np.zeros((2, 2), np.int8))
    with pytest.raises(InputError, match="the manifest says"):
        one_op.operands_of_entry(manifest, entry, folder)


def test_an_impossible_op_is_refused(folder):
    def change(plain):
        plain["ops"][0]["fields"]["requantize"]["rounding"] = "floor"
        plain["ops"][0]["fields"]["requantize"]["double_rounding"] = "symmetric"

    changed(folder, change)
    manifest = read_manifest(folder)
    with pytest.raises(InputError, match=r"op y: not a valid graph: .* rounds half_up twice"):
        one_op.of_entry(manifest, manifest.ops[0], folder)


def test_a_folder_is_made_whole_or_not_at_all(tmp_path):
    out = tmp_path / "golden"
    one, operands = one_case(*RESCALE)

    def make(fail=False):
        with files.made_whole(out) as folder:
            written(one, operands, folder)
            if fail:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(fail=True)
    assert list(tmp_path.iterdir()) == []
    make()
    (out / "tensors" / "left.npy").write_bytes(b"")
    make()
    assert not (out / "tensors" / "left.npy").exists()
    with pytest.raises(KeyboardInterrupt):
        make(fail=True)
    assert list(tmp_path.iterdir()) == [out]
    read_manifest(out)


def test_other_files_are_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="no golden vectors"), files.made_whole(tmp_path):
        pass
    assert (tmp_path / "thesis.txt").exists()
