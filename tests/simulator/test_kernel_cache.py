# SPDX-License-Identifier: Apache-2.0
"""What is on disk runs only if it is what was asked for: else kernels are compiled again."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from cached_kernels import ARGUMENTS, ROUNDS, cached, calling, enclosing, known, signature_number

from simulator import kernel_cache
from simulator.kernel_cache import overload_key
from simulator.kernel_sources import sources_digest

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
from pathlib import Path
import cached_kernels
cached_kernels.save_all(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
"""


def hits(dispatcher):
    return sum(dispatcher.stats.cache_hits.values())


def kernels_in(folder):
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "kernels"


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder with all signatures of one kernel."""
    folder = tmp_path_factory.mktemp("filled") / "kernels"
    compiled = cached(signature_number, folder)
    for array in ARGUMENTS:
        compiled(array)
    assert hits(compiled) == 0
    return folder


def expect_all(folder, found):
    """Hold every signature to its result, ``found`` of them from disk, all when asked again."""
    compiled = cached(signature_number, folder)
    assert [compiled(array) for array in ARGUMENTS] == [known(array) for array in ARGUMENTS]
    assert hits(compiled) == found
    again = cached(signature_number, folder)
    assert [again(array) for array in ARGUMENTS] == [known(array) for array in ARGUMENTS]
    assert hits(again) == len(ARGUMENTS)


def test_every_signature_is_found_again(filled):
    before = {path: path.read_bytes() for path in kernels_in(filled)}
    assert len(before) == len(ARGUMENTS)
    expect_all(filled, len(ARGUMENTS))
    assert {path: path.read_bytes() for path in kernels_in(filled)} == before


def test_two_processes_that_save_at_once_mix_nothing(folder, tmp_path):
    gate = tmp_path / "gate"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, folder, gate, str(process)],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for process in range(2)
    ]
    try:
        assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    finally:
        for writer in writers:
            writer.kill()
    assert len(writers) * ROUNDS * len(ARGUMENTS) == 450
    for number in range(ROUNDS):
        compiled = cached(signature_number, folder / str(number))
        assert [compiled(array) for array in ARGUMENTS] == [known(array) for array in ARGUMENTS]
        assert hits(compiled) == len(ARGUMENTS)
        assert len(list((folder / str(number)).iterdir())) == len(ARGUMENTS)  # nothing temporary


def cut(content, chance):
    return content[: chance.randrange(len(content))]


def flipped(content, chance):
    place = chance.randrange(len(content))
    changed = content[place] ^ (1 << chance.randrange(8))
    return content[:place] + bytes([changed]) + content[place + 1 :]


def longer(content, chance):
    return content + b"\0"


def empty(content, chance):
    return b""


@pytest.mark.parametrize("damage", [cut, flipped, longer, empty])
def test_damaged_files_are_compiled_again(filled, folder, damage, capfd):
    shutil.copytree(filled, folder)
    chance = random.Random(1)
    for path in kernels_in(folder):
        path.write_bytes(damage(path.read_bytes(), chance))
    expect_all(folder, 0)
    assert capfd.readouterr().err == ""


def test_no_damage_of_a_file_is_read(filled, folder):
    """A single bit or a missing end is noticed before anything is unpickled."""
    shutil.copytree(filled, folder)
    signature = (numba.typeof(ARGUMENTS[0]),)
    codegen = numba.njit(signature_number).targetctx.codegen()
    key = overload_key(signature_number, signature, codegen)
    name = kernel_cache._file_name(signature_number, key)
    content, chance = (folder / name).read_bytes(), random.Random(2)
    assert kernel_cache._read(folder, name, key) is not None
    for _ in range(2000):
        (folder / name).write_bytes(chance.choice((cut, flipped))(content, chance))
        assert kernel_cache._read(folder, name, key) is None


def test_files_under_each_others_names_are_compiled_again(filled, folder):
    shutil.copytree(filled, folder)
    paths = kernels_in(folder)
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    expect_all(folder, 0)


def test_code_under_anothers_key_is_compiled_again(filled, folder):
    """Even code that is whole, in a file whose name and key are those that are asked for."""
    shutil.copytree(filled, folder)
    paths = kernels_in(folder)
    heads, codes = zip(*(path.read_bytes().split(b"}\n", 1) for path in paths), strict=True)
    for path, head, code in zip(paths, heads, codes[1:] + codes[:1], strict=True):
        path.write_bytes(head + b"}\n" + code)
    expect_all(folder, 0)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_files_that_others_can_write_are_compiled_again(filled, folder, mode):
    shutil.copytree(filled, folder)
    for path in kernels_in(folder):
        path.chmod(mode)
    expect_all(folder, 0)


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_files_of_others_are_compiled_again(filled, folder):
    shutil.copytree(filled, folder)
    for path in kernels_in(folder):
        os.chown(path, 12345, -1)
    expect_all(folder, 0)


def test_links_and_pipes_are_compiled_again(filled, folder):
    shutil.copytree(filled, folder)
    for number, path in enumerate(kernels_in(folder)):
        path.unlink()
        if number % 2:
            path.symlink_to(filled / path.name)
        else:
            os.mkfifo(path)
    expect_all(folder, 0)


def test_a_folder_that_others_can_write_is_not_used(filled, folder, monkeypatch, capfd):
    monkeypatch.setattr(kernel_cache, "_noted", set())
    shutil.copytree(filled, folder)
    folder.chmod(0o777)
    compiled = cached(signature_number, folder)
    assert [compiled(array) for array in ARGUMENTS] == [known(array) for array in ARGUMENTS]
    assert hits(compiled) == 0
    told = capfd.readouterr().err
    assert told.count("note: ") == 1
    assert f"compiled kernels cannot be kept in {folder}" in told
    assert "others can write it (mode 0777)" in told


def test_a_link_to_a_folder_is_not_used(filled, folder, monkeypatch, capfd):
    monkeypatch.setattr(kernel_cache, "_noted", set())
    folder.parent.mkdir()
    folder.symlink_to(filled)
    compiled = cached(signature_number, folder)
    assert compiled(ARGUMENTS[0]) == known(ARGUMENTS[0])
    assert hits(compiled) == 0
    assert "a link or a file, not a folder" in capfd.readouterr().err


def test_what_is_kept_is_private(folder):
    old = os.umask(0)
    try:
        cached(signature_number, folder)(ARGUMENTS[0])
    finally:
        os.umask(old)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_disk_that_takes_nothing_costs_time_only(folder, monkeypatch, capfd, code):
    monkeypatch.setattr(kernel_cache, "_noted", set())

    def refuse(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(kernel_cache, "_write", refuse)
    compiled = cached(signature_number, folder)
    assert [compiled(array) for array in ARGUMENTS[:3]] == [known(a) for a in ARGUMENTS[:3]]
    told = capfd.readouterr().err
    assert told.count("\n") == 1
    assert told.startswith(f"note: compiled kernels cannot be kept in {folder} ([Errno {code}]")


def test_without_a_folder_kernels_are_compiled(capfd):
    assert cached(signature_number, None)(ARGUMENTS[0]) == known(ARGUMENTS[0])
    assert capfd.readouterr().err == ""


def test_kernels_of_a_factory_are_told_apart(folder):
    for number in (1, 2, 40):
        assert cached(enclosing(number), folder)(100) == 100 + number
    again = [cached(enclosing(number), folder) for number in (1, 2, 40)]
    assert [compiled(100) for compiled in again] == [101, 102, 140]
    assert [hits(compiled) for compiled in again] == [1, 1, 1]


def test_kernels_that_enclose_kernels_are_told_apart_and_found_again(folder):
    for number in (1, 2):
        inner = numba.njit(enclosing(number))
        assert cached(calling(inner), folder)(100) == 100 + 2 * number
    again = [cached(calling(numba.njit(enclosing(number))), folder) for number in (1, 2)]
    assert [compiled(100) for compiled in again] == [102, 104]
    assert [hits(compiled) for compiled in again] == [1, 1]


def test_recompiling_forgets_what_is_kept(filled, folder):
    shutil.copytree(filled, folder)
    compiled = cached(signature_number, folder)
    compiled(ARGUMENTS[0])
    assert hits(compiled) == 1
    compiled.recompile()
    assert hits(compiled) == 1
    assert len(kernels_in(folder)) == 1
    assert compiled(ARGUMENTS[0]) == known(ARGUMENTS[0])


class Machine:
    def __init__(self, *parts):
        self.parts = parts

    def magic_tuple(self):
        return self.parts


HERE = ("x86_64-unknown-linux-gnu", "skylake-avx512", "+avx2,+avx512f")


@pytest.mark.parametrize(
    "other",
    [
        ("aarch64-unknown-linux-gnu", *HERE[1:]),
        (HERE[0], "haswell", HERE[2]),
        (*HERE[:2], "+avx2,-avx512f"),
    ],
)
def test_other_machines_have_other_keys(other):
    signature = (numba.int64,)
    here, there = (overload_key(known, signature, Machine(*parts)) for parts in (HERE, other))
    assert here != there
    assert here == overload_key(known, signature, Machine(*HERE))


def test_the_real_machine_is_in_the_key():
    codegen = numba.njit(known).targetctx.codegen()
    key = overload_key(known, (numba.int64,), codegen).decode()
    for part in codegen.magic_tuple():
        assert str(part) in key


def test_arrays_that_numba_tells_apart_have_keys_of_their_own():
    plain = np.zeros((2, 2), np.int8)
    fixed = np.zeros((2, 2), np.int8)
    fixed.flags.writeable = False
    arrays = [plain, fixed, plain.T, np.zeros((4, 4), np.int8)[::2, ::2], plain.astype(np.uint8)]
    codegen = numba.njit(known).targetctx.codegen()
    assert len({overload_key(known, (numba.typeof(a),), codegen) for a in arrays}) == len(arrays)


@pytest.mark.parametrize(("name", "value"), [("OPT", 0), ("BOUNDSCHECK", 1), ("LOOP_VECTORIZE", 0)])
def test_settings_of_numba_have_keys_of_their_own(monkeypatch, name, value):
    machine = Machine(*HERE)
    before = overload_key(known, (numba.int64,), machine)
    monkeypatch.setattr(f"numba.core.config.{name}", value)
    assert overload_key(known, (numba.int64,), machine) != before


@pytest.mark.parametrize("package", ["numba", "llvmlite", "numpy"])
def test_another_version_of_a_compiler_s_package_has_a_key_of_its_own(monkeypatch, package):
    machine = Machine(*HERE)
    before = overload_key(known, (numba.int64,), machine)
    monkeypatch.setattr(f"{package}.__version__", "0.0.1")
    assert overload_key(known, (numba.int64,), machine) != before


def test_an_edit_of_the_kernel_s_file_is_noticed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    keys = []
    for number in (1, 2):
        (tmp_path / "edited.py").write_text(f"def f(x):\n    return x + {number}\n", "utf-8")
        sources_digest.cache_clear()
        scope = {"__name__": "edited"}
        path = tmp_path / "edited.py"
        exec(compile(path.read_text("utf-8"), str(path), "exec"), scope)
        keys.append(overload_key(scope["f"], (numba.int64,), Machine(*HERE)))
    assert keys[0] != keys[1]
