"""Names that were replaced by the field's terms do not come back; CONTRIBUTING's glossary has the terms."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "DeepVsClassicReg" / "DeepVsClassicRegLib"
FILES = sorted([*LIBRARY.rglob("*.py"), *(ROOT / "Testing").rglob("*.py")])

# Former words -> what is said today. A word counts wherever it is a whole part of an identifier.
WORDS = {
    "arena": "design",
    "competitor": "method",
    "contest": "network_comparison",
    "errand": "task",
    "hear": "receive",
    "hears": "receives",
    "lattice": "grid",
    "mend": "fix",
    "pause": "check_cancelled",
    "persons": "subjects",
    "spot": "location",
    "spots": "locations",
    "thinness": "surface_to_volume",
    "told": "reported",
}
IDENTIFIERS = {
    "without_answers": "without_annotations",
    "uses_labels": "uses_annotations",
    "spotLabel": "locationLabel",
}
FORMER_FILES = [
    "cli/comparing",
    "cli/joint",
    "cli/joint_page",
    "cli/points",
    "cli/training",
    "core/engines/_start",
    "core/engines/_views",
    "core/engines/view",
    "core/engines/instance/adapt",
    "core/engines/instance/chance",
    "core/engines/instance/choice",
    "core/engines/instance/fallback",
    "core/evaluation/canvas",
    "core/evaluation/judge",
    "core/evaluation/outcome",
    "core/evaluation/spots",
    "core/evaluation/trust",
    "core/experiments/arena",
    "core/experiments/board",
    "core/experiments/contest",
    "core/experiments/stacks",
    "core/experiments/units",
    "core/training/listing",
    "core/training/plan",
    "core/training/specs",
    "core/training/tools",
    "ui/attempt",
    "ui/background",
    "ui/errand",
    "ui/later",
    "ui/offers",
    "ui/question",
    "ui/requests",
    "ui/shared_start",
    "ui/state",
    "worker/starting",
]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("former", FORMER_FILES)
def test_former_files_are_gone(former):
    assert not (LIBRARY / f"{former}.py").exists() and not (LIBRARY / former).is_dir()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_identifiers_use_todays_terms(path):
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.NAME:
            former = IDENTIFIERS.get(token.string) or next(
                (WORDS[part] for part in token.string.lower().split("_") if part in WORDS), ""
            )
            assert not former, f"line {token.start[0]}: '{token.string}', say '{former}'"


def test_sentences_say_grid():
    found = [name(path) for path in FILES if path != Path(__file__) and "lattice" in path.read_text(encoding="utf-8")]
    assert found == []


# The stand-in for Slicer's application has no public way to these.
STANDIN = {"_panel", "_scroll", "_refresh"}


@pytest.mark.parametrize("path", sorted((ROOT / "Testing" / "ui").glob("*.py")), ids=name)
def test_tests_of_the_panel_use_what_is_public(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            own = isinstance(node.value, ast.Name) and node.value.id == "self"
            assert own or node.attr in STANDIN, f"line {node.lineno}: '{node.attr}' is private"
