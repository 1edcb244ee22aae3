# SPDX-License-Identifier: Apache-2.0
"""Results are published whole or not at all: killed, failing and hindered at every single step."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from mutations import json_mutants

from aocq.records.claim import LOCK_NAME, WORK
from aocq.records.manifest import (
    MANIFEST_NAME,
    Entry,
    Manifest,
    load_manifest,
    refuse_foreign,
    save_manifest,
)
from aocq.records.publishing import claimed, publish, refuse_blocked, staging
from simulator.errors import InputError

OLD = {"run.json": "old", "a.svg": "old", "z.svg": "old", "report.html": "old", "gone.svg": "old"}
NEW = {"run.json": "new", "a.svg": "new", "z.svg": "new", "report.html": "new", "added.svg": "new"}


def stage(folder: Path, files: dict[str, str]) -> None:
    complete = staging(folder)
    for name, text in files.items():
        (complete / name).write_text(text)


def make(folder: Path, files: dict[str, str], command: str = "verify") -> None:
    with claimed(folder):
        stage(folder, files)
        publish(folder, command, next(iter(files.values())))


def content(folder: Path) -> dict[str, str]:
    """The files of a folder, manifest and work aside."""
    return {
        path.name: path.read_text()
        for path in folder.iterdir()
        if path.is_file() and path.name != MANIFEST_NAME
    }


def killed(job: Callable[[], None], at: int, *, after: bool) -> bool:
    """Do a job in a process that dies at a rename, before or after it; return whether it did."""
    process = os.fork()
    if process == 0:
        calls, real = count(), os.replace

        def replace(source: object, target: object) -> None:
            dies = next(calls) == at
            if dies and not after:
                os._exit(9)
            real(source, target)  # type: ignore[arg-type]
            if dies:
                os._exit(9)

        os.replace = replace  # type: ignore[assignment]
        job()
        os._exit(0)
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, 9}
    return code == 9


def assert_of_one_run(folder: Path) -> None:
    found = content(folder)
    if "run.json" in found:
        assert found in (OLD, NEW)


def refusal(job: Callable[[], None]) -> str | None:
    """What a job is refused with; None if it is done."""
    try:
        job()
    except InputError as error:
        return str(error)
    return None


def clean(folder: Path) -> bool:
    return not (folder / WORK).exists()


@pytest.mark.parametrize("after", [False, True])
def test_a_run_killed_at_any_rename_is_the_old_one_or_becomes_the_new_one(
    tmp_path: Path, after: bool
) -> None:
    ends = set()
    for at in count():
        folder = tmp_path / str(at)
        make(folder, OLD)
        if not killed(lambda folder=folder: make(folder, NEW), at, after=after):
            break
        assert_of_one_run(folder)
        with claimed(folder):
            found = content(folder)
            assert found in (OLD, NEW)
            entry = load_manifest(folder).results["verify"]
            assert (entry.identity, entry.files.keys()) == (found["run.json"], found.keys())
        assert clean(folder)
        ends.add(found["run.json"])
    assert at >= 10
    # The first rename completes the manifest that waits: from then on the new run is there.
    assert ends == ({"new"} if after else {"old", "new"})
    assert content(folder) == NEW


def test_a_kill_while_a_kill_is_made_good_loses_nothing_either(tmp_path: Path) -> None:
    def recover(folder: Path) -> None:
        with claimed(folder):
            pass

    for first in range(1, 10):  # the very first rename is that of the waiting manifest
        for second in count():
            folder = tmp_path / f"{first}-{second}"
            make(folder, OLD)
            assert killed(lambda folder=folder: make(folder, NEW), first, after=False)
            if not killed(lambda folder=folder: recover(folder), second, after=True):
                break
            assert_of_one_run(folder)
            recover(folder)
            assert content(folder) == NEW
            assert clean(folder)
        assert content(folder) == NEW


@pytest.mark.parametrize("once", [True, False], ids=["once", "from_then_on"])
def test_a_rename_that_fails_at_any_step_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, once: bool
) -> None:
    """From then on: what was moved cannot be moved back either."""
    real = os.replace
    for at in count(1):
        folder = tmp_path / str(at)
        make(folder, OLD)
        calls = count()

        def replace(source: object, target: object, calls=calls, at=at) -> None:
            call = next(calls)
            if call == at or (call > at and not once):
                raise OSError(30, os.strerror(30))
            real(source, target)  # type: ignore[arg-type]

        with claimed(folder):
            stage(folder, NEW)
            monkeypatch.setattr(os, "replace", replace)
            told = refusal(lambda folder=folder: publish(folder, "verify", "new"))
            monkeypatch.setattr(os, "replace", real)
            if told is None:
                break
            assert "cannot be replaced (Read-only file system)" in told
            assert "give the same command again" in told
            if once:
                assert content(folder) == OLD
                assert load_manifest(folder).results["verify"].identity == "old"
            assert_of_one_run(folder)
        with claimed(folder):
            assert content(folder) == NEW
        assert clean(folder)
    assert at >= 10


def test_ctrl_c_while_publishing_takes_everything_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, OLD)
    calls, real = count(), os.replace

    def replace(source: object, target: object) -> None:
        if next(calls) == 5:
            raise KeyboardInterrupt
        real(source, target)  # type: ignore[arg-type]

    with claimed(tmp_path):
        stage(tmp_path, NEW)
        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            publish(tmp_path, "verify", "new")
    assert content(tmp_path) == OLD
    with claimed(tmp_path):
        assert content(tmp_path) == NEW


def test_a_folder_in_the_way_is_named_and_everything_waits(tmp_path: Path) -> None:
    make(tmp_path, OLD)
    (tmp_path / "added.svg").mkdir()
    (tmp_path / "added.svg" / "mine").write_text("mine")
    with pytest.raises(InputError, match=r"added\.svg: is a folder"):
        refuse_blocked(tmp_path, NEW)
    for _ in range(2):  # the second time it is what waits that cannot be published
        with pytest.raises(InputError, match=r"added\.svg: is a folder"):
            make(tmp_path, NEW)
        assert content(tmp_path) == OLD
    (tmp_path / "added.svg" / "mine").rename(tmp_path.parent / "mine")
    (tmp_path / "added.svg").rmdir()
    told: list[str] = []
    with claimed(tmp_path, told.append):
        assert content(tmp_path) == NEW
    assert told == [f"{tmp_path}: a finished result waited to be published; done"]


def test_what_waits_and_was_damaged_is_given_up_for_the_earlier_result(tmp_path: Path) -> None:
    for name in (*NEW, MANIFEST_NAME):
        for at in range(2, 9):
            folder = tmp_path / f"{name}-{at}"
            make(folder, OLD)
            assert killed(lambda folder=folder: make(folder, NEW), at, after=True)
            waiting = folder / WORK / "complete" / name
            if not waiting.exists():
                continue
            waiting.write_text("damaged")
            told: list[str] = []
            with claimed(folder, told.append):
                found = content(folder)
                assert {key: found.get(key) for key in OLD} == OLD
            assert "is damaged; the earlier one is back" in told[0]
            assert clean(folder), list((folder / WORK).rglob("*"))


# --- locks ----------------------------------------------------------------------------------------


def holding(folder: Path) -> tuple[int, int]:
    """Start a process that holds a folder's lock; return it, and a descriptor that ends it."""
    ready, tell = os.pipe()
    wait, end = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(end)
        with claimed(folder):
            os.write(tell, b"!")
            os.read(wait, 1)
        os._exit(0)
    os.close(wait)
    assert os.read(ready, 1) == b"!"
    return process, end


def test_a_second_process_is_refused_at_once_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    process, end = holding(folder)
    with pytest.raises(InputError) as caught, claimed(folder):
        pass
    assert f"{folder}: another command writes into it (process {process}, aocq" in str(caught.value)
    assert "name another folder with --out" in str(caught.value)
    os.close(end)
    os.waitpid(process, 0)
    assert not folder.exists(), "nothing was put into it"
    make(folder, NEW)


def test_a_lock_does_not_outlive_a_kill(tmp_path: Path) -> None:
    process, _ = holding(tmp_path)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    assert (tmp_path / WORK / LOCK_NAME).exists()
    make(tmp_path, NEW)
    assert clean(tmp_path)


def test_processes_that_come_and_go_never_hold_it_together(tmp_path: Path) -> None:
    """Lock files are removed under those who wait for them: their new owners must notice."""
    folder, counter = tmp_path / "out", tmp_path / "counter"
    counter.write_text("0")
    children = []
    for _ in range(4):
        process = os.fork()
        if process == 0:
            done = 0
            while done < 50:
                try:
                    with claimed(folder):
                        counter.write_text(str(int(counter.read_text()) + 1))
                        done += 1
                except InputError:
                    pass
            os._exit(0)
        children.append(process)
    for process in children:
        assert os.waitpid(process, 0)[1] == 0
    assert counter.read_text() == "200"


@pytest.mark.parametrize("place", ["/proc/nowhere/out", "/dev/null/out", "x" * 300])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(
        InputError, match=r"cannot be written .*; (name a writable|choose a shorter)"
    ):
        make(tmp_path / place, NEW)


def test_a_read_only_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(InputError, match="cannot be written"), claimed(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


# --- what belongs together ------------------------------------------------------------------------


def test_files_of_an_earlier_longer_result_go_and_others_stay(tmp_path: Path) -> None:
    make(tmp_path, {"magnitudes-1.svg": "a", "magnitudes-2.svg": "a"}, "figures")
    make(tmp_path, {"compare.md": "b"}, "compare")
    (tmp_path / "mine.txt").write_text("mine")
    make(tmp_path, {"magnitudes-1.svg": "c"}, "figures")
    assert content(tmp_path) == {"magnitudes-1.svg": "c", "compare.md": "b", "mine.txt": "mine"}
    with pytest.raises(InputError, match=r"holds mine\.txt, which no command is known"):
        refuse_foreign(tmp_path)


def test_what_was_derived_goes_with_what_it_was_derived_from(tmp_path: Path) -> None:
    make(tmp_path, {"quantized.json": "1"}, "quantize")
    make(tmp_path, {"graph.json": "1"}, "lower")
    assert content(tmp_path) == {"quantized.json": "1", "graph.json": "1"}
    make(tmp_path, {"quantized.json": "2"}, "quantize")
    assert content(tmp_path) == {"quantized.json": "2"}, "a graph of another model"


def test_a_result_that_loses_a_file_to_another_is_none_any_more(tmp_path: Path) -> None:
    """But nothing of it is deleted: its record may have been removed by hand, to use the rest."""
    make(tmp_path, {"run.json": "1", "quantized.json": "1", "graph.json": "1"}, "verify")
    (tmp_path / "run.json").unlink()
    make(tmp_path, {"graph.json": "2"}, "lower")
    assert content(tmp_path) == {"quantized.json": "1", "graph.json": "2"}
    assert load_manifest(tmp_path).results.keys() == {"lower"}


def test_files_that_are_kept_stay_and_are_named_as_they_were(tmp_path: Path) -> None:
    make(tmp_path, OLD)
    before = load_manifest(tmp_path).results["verify"].files
    with claimed(tmp_path):
        stage(tmp_path, {"report.html": "redrawn"})
        publish(tmp_path, "verify", "old", keep=before)
    assert content(tmp_path) == {**OLD, "report.html": "redrawn"}
    after = load_manifest(tmp_path).results["verify"].files
    assert {name for name in before if before[name] != after[name]} == {"report.html"}


def test_a_hostile_manifest_removes_nothing_outside_and_stops_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    make(folder, OLD)
    plain = json.loads((folder / MANIFEST_NAME).read_text())
    precious = tmp_path / "precious"
    precious.write_text("mine")
    readable = 0
    for said, mutant in json_mutants(plain, seed=16, count=600):
        (folder / MANIFEST_NAME).write_text(json.dumps(mutant))
        found = load_manifest(folder)
        assert all("/" not in name and name not in {"", ".", ".."} for name in found.names), said
        if found.results:
            readable += 1
            save_manifest(found, folder)
            assert load_manifest(folder) == found, said
    assert readable > 8
    for name in ("../precious", str(precious), "..", ".", "", "a/b", "a\0b", "\x1b[2J"):
        plain["results"]["verify"]["files"] = {name: "0" * 64}
        (folder / MANIFEST_NAME).write_text(json.dumps(plain))
        assert load_manifest(folder) == Manifest()
        with pytest.raises(ValueError, match="String should match"):
            Entry(identity="", files={name: "0" * 64})
    make(folder, NEW)
    assert precious.read_text() == "mine"


def test_ctrl_c_in_a_rename_is_answered_after_it_and_mixes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that comes during ``rename`` is raised once that is done."""
    real = os.replace
    for at in count(1):
        folder = tmp_path / str(at)
        make(folder, OLD)
        calls = count()

        def replace(source: object, target: object, calls=calls, at=at) -> None:
            real(source, target)  # type: ignore[arg-type]
            if next(calls) == at:
                raise KeyboardInterrupt

        with claimed(folder):
            stage(folder, NEW)
            monkeypatch.setattr(os, "replace", replace)
            try:
                publish(folder, "verify", "new")
            except KeyboardInterrupt:
                ended = False
            else:
                ended = True
            monkeypatch.setattr(os, "replace", real)
            assert content(folder) == (NEW if ended else OLD)
        with claimed(folder):
            assert content(folder) == NEW
        assert clean(folder)
        if ended:
            break
    assert at >= 10


@pytest.mark.parametrize("name", [".work", ".work/complete", ".work/earlier", ".work/lock"])
@pytest.mark.parametrize("leads_to", ["folder", "file", "nowhere"])
def test_links_where_work_belongs_are_refused_and_not_followed(
    name: str, leads_to: str, tmp_path: Path
) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    make(out, OLD)
    (other / "folder").mkdir(parents=True)
    (other / "folder" / "precious").write_text("precious")
    (other / "file").write_text("precious")
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).symlink_to(other / leads_to)
    with pytest.raises(InputError, match=r"is a link, .* remove it"):
        make(out, NEW)
    (out / name).unlink()
    assert content(out) == OLD
    assert (other / "folder" / "precious").read_text() == "precious"
    assert (other / "file").read_text() == "precious"
    assert sorted(path.name for path in other.iterdir()) == ["file", "folder"]


def test_unfinished_work_of_another_request_stays(tmp_path: Path) -> None:
    (tmp_path / WORK / "blocks-of-another").mkdir(parents=True)
    (tmp_path / WORK / "blocks-of-another" / "block").write_text("hours of work")
    make(tmp_path, NEW)
    assert (tmp_path / WORK / "blocks-of-another" / "block").read_text() == "hours of work"
    assert sorted(path.name for path in (tmp_path / WORK).iterdir()) == ["blocks-of-another"]


def test_a_holder_whose_lock_was_deleted_leaves_the_next_one_s(tmp_path: Path) -> None:
    lock = tmp_path / WORK / LOCK_NAME
    with claimed(tmp_path):
        lock.unlink()
        process, end = holding(tmp_path)
    assert lock.exists()
    with pytest.raises(InputError, match="another command writes into it"), claimed(tmp_path):
        pass
    os.close(end)
    os.waitpid(process, 0)


def test_a_file_that_is_not_what_the_manifest_says_is_not_deleted(tmp_path: Path) -> None:
    make(tmp_path, {"quantized.json": "1", "thesis.tex": "x"}, "quantize")
    (tmp_path / "thesis.tex").write_text("mine")
    make(tmp_path, {"quantized.json": "2"}, "quantize")
    assert content(tmp_path) == {"quantized.json": "2", "thesis.tex": "mine"}


def test_a_damaged_publication_leaves_no_file_of_its_own(tmp_path: Path) -> None:
    """New names come first in the alphabet: they are in their places when the kill comes."""
    new = {**NEW, "aaa_added.csv": "new"}
    seen = 0
    for at in range(2, 16):
        folder = tmp_path / str(at)
        make(folder, OLD)
        if not killed(lambda folder=folder: make(folder, new), at, after=True):
            break
        waiting = [p for p in (folder / WORK / "complete").iterdir() if p.name != MANIFEST_NAME]
        if not waiting:
            continue
        seen += (folder / "aaa_added.csv").exists()
        waiting[0].write_text("damaged")
        with claimed(folder):
            assert content(folder) == OLD
    assert seen >= 2


def test_a_folder_among_what_waits_is_damage_like_any_other(tmp_path: Path) -> None:
    make(tmp_path, OLD)
    assert killed(lambda: make(tmp_path, NEW), 3, after=True)
    (tmp_path / WORK / "complete" / "folder").mkdir()
    with claimed(tmp_path):
        assert content(tmp_path) == OLD
    assert clean(tmp_path)
