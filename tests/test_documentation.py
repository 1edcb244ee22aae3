# SPDX-License-Identifier: Apache-2.0
"""The documentation's code runs, and prints what the text says."""

from __future__ import annotations

import io
import re
from contextlib import chdir, redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
IR = ROOT / "docs" / "ir.md"
PAGES = sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md"))


def run_python(code: str, folder: Path) -> str:
    """Run code in a folder, and return what it prints."""
    printed = io.StringIO()
    with chdir(folder), redirect_stdout(printed):
        exec(compile(code, "snippet", "exec"), {"__name__": "__main__"})
    return printed.getvalue()


def test_snippets_of_the_ir_page_run_and_print_what_it_says(tmp_path):
    page = IR.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 3
    by_hand, made, ran = (run_python(block, tmp_path) for block in blocks)
    assert f"It prints `{by_hand.strip()}`." in page
    assert re.fullmatch(r"[0-9a-f]{64}", made.strip())
    # Counts depend on scales, and those on the float arithmetic of the machine that calibrated.
    stated = re.search(r"It prints `(.*?elements=\d+)", page)
    assert stated is not None
    assert ran.startswith(stated[1])
    text = (tmp_path / "demo_graph" / "graph.txt").read_text(encoding="utf-8")
    for line in ("blocks.0.norm1", "blocks.0.attn.qkv", "blocks.0.attn.probabilities"):
        assert line in text
        assert line in page


def test_the_example_of_a_family_is_that_of_the_code_and_finds_what_is_stated(tmp_path):
    page = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    (listing,) = re.findall(r"```py\n(.*?)```", page, flags=re.DOTALL)
    assert listing in (ROOT / "tests/aocq/families/cait.py").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    *nodes, stream, ends = run_python(snippet, tmp_path).splitlines()
    assert nodes[0].split()[:2] == ["image", "input"]
    assert stream.startswith("stream: add blocks.0.add blocks.0.add_1 ")
    assert " blocks_token_only.1.attn.proj " in ends
    assert " blocks_token_only.0.attn.proj " not in ends


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    headings = re.findall(r"^#+ +(.*)$", text, flags=re.MULTILINE)
    linked = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in linked}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_anchors_of_links_are_headings(page):
    for target, anchor in re.findall(
        r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text(encoding="utf-8")
    ):
        if "://" not in target:
            assert anchor in anchors_of(page.parent / target if target else page), (target, anchor)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_that_the_text_names_exist(page):
    """Whole paths, or the ends of some."""
    rooms = ("aocq", "simulator", "reports", "hw_profiles", "tests", "benchmarks", "docs")
    found = [path for room in rooms for path in (ROOT / room).rglob("*.*")]
    known = [f"/{path.relative_to(ROOT).as_posix()}" for path in found]
    text = (ROOT / page).read_text(encoding="utf-8").replace("hw_profiles/NAME.toml", "")
    named = set(re.findall(r"`([\w./-]+\.(?:py|md|txt|toml|j2))`", text)) - {
        "pyproject.toml",
        "CHANGELOG.md",
    }
    assert len(named) > 40
    assert not [name for name in named if not any(path.endswith(f"/{name}") for path in known)]
