"""The documents: links lead somewhere, pictures are small, and what is generated is up to date. No build is needed."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import method_pages
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("Docs/**/*.md"), *ROOT.glob("Testing/bench/*.md"), *ROOT.glob("Testing/*/*.md")]
)
PICTURES = sorted([*ROOT.glob("Docs/pictures/*.png"), *ROOT.glob("Resources/**/*.png")])
METHODS = sorted((ROOT / "Docs" / "methods").glob("*/*.md"))
LARGEST_PICTURE = 300_000
LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+(?:\([^()]*\))?)\)")
FENCE = re.compile(r"^```.*?^```", flags=re.S | re.M)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.+?) *$", text, flags=re.M)
    return frozenset(re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)


def broken_links(page: Path) -> Iterator[str]:
    """Yield the links of a page that lead nowhere; addresses of other servers are not followed."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def listed(page: Path) -> Iterator[Path]:
    """Yield the pages that the tables of contents of a page name."""
    for block in re.findall(r"^```{toctree}\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.S | re.M):
        for line in block.splitlines():
            if line and not line.startswith(":"):
                yield from page.parent.glob(f"{line}.md")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    assert list(broken_links(page)) == []


def test_broken_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A title\n[a](#a-title) [b](page.md#no) ![c](c.png) [d](https://example.org)\n`[e](e.md)`\n")
    assert list(broken_links(page)) == ["page.md#no", "c.png"]


def test_every_page_is_in_a_table_of_contents():
    index = ROOT / "Docs" / "index.md"
    reached = {page.resolve() for page in (*listed(index), *listed(index.parent / "methods" / "index.md"))}
    assert [name(page) for page in sorted(set(ROOT.glob("Docs/**/*.md")) - reached - {index})] == []


def test_the_reference_names_what_exists():
    text = (ROOT / "Docs" / "reference" / "python.md").read_text(encoding="utf-8")
    names = re.findall(r"^\.\. auto\w+:: ([\w.]+)$", text, flags=re.M)
    assert len(names) > 20
    for name in names:
        full = name if name.startswith("DeepVsClassicRegLib.") else f"DeepVsClassicRegLib.{name}"
        module, _, last = full.rpartition(".")
        assert getattr(importlib.import_module(module), last).__doc__, full


@pytest.mark.parametrize("picture", PICTURES, ids=name)
def test_pictures_are_small(picture):
    assert picture.stat().st_size <= LARGEST_PICTURE


def test_every_picture_of_the_tutorial_is_shown():
    shown = {Path(link).name for link in LINK.findall((ROOT / "Docs" / "tutorial.md").read_text(encoding="utf-8"))}
    assert {path.name for path in ROOT.glob("Docs/pictures/tutorial-*.png")} <= shown


def test_generated_parts_are_up_to_date():
    made = dict(method_pages.blocks())
    assert {page.name for page in METHODS} | {"index.md"} == {page.name for page in made}, "run `make pages`"
    for page, generated in made.items():
        text = page.read_text(encoding="utf-8")
        assert method_pages.updated(text, generated) == text, f"{name(page)}: run `make pages`"


@pytest.mark.parametrize("page", METHODS, ids=name)
def test_pages_of_methods_say_when_to_use_them(page):
    text = page.read_text(encoding="utf-8")
    sections = [section.strip() for section in re.split(r"^## .+$", text, flags=re.M)[1:]]
    assert re.findall(r"^## (.+)$", text, flags=re.M) == ["When to use it", "When not", "Measured"]
    assert all(len(section) > 30 for section in sections)
