"""Texts of the library use the field's standard terms: none of the words that needed a second reading comes back."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "DeepVsClassicReg" / "DeepVsClassicRegLib"
RESOURCES = ROOT / "DeepVsClassicReg" / "Resources"

# Word -> what documentation of registration software says instead.
INSTEAD = {
    r"anew": "again",
    r"at hand": "available",
    r"for good": "finally",
    r"let go of": "release",
    r"Most seconds|Least Jacobian": "Maximum, Lowest",
    r"(?:is|are) believed": "is used",
    r"mean the same": "have the same meaning",
    r"hears?|heard (?:by|of)": "receives",
    r"(?:is|are|was|were) told": "is reported",
    r"errands?": "task",
    r"vouch(?:es)? for": "marks a complete result",
    r"mends?|mended": "fix",
    r"by heart": "overfits",
    r"spoils?|spoiled": "makes worse",
    r"(?:the )?gravest": "the most severe",
    r"takes? away|taken away": "removes",
    r"stands? in for": "replaces",
    r"goes on beyond|go on beyond": "extends beyond",
    r"there and back": "round trip",
    r"squeez(?:es?|ed|ing)": "compress",
    r"the other way round": "vice versa",
    r"one after the other": "one after another",
    r"graphics processors?": "GPU",
    r"whole numbers?": "integers",
    r"errs?|erred": "is wrong",
    r"nobody|everybody|somebody": "the user, the caller, no one named",
    r"trust(?:s|ed)? itself": "has a high confidence",
    r"it is no (?!longer)\w+": "it is not a ...",
    r"looks? at (?:this|the) pair": "analyzes the pair",
    r"persons": "subjects",
    r"towards": "toward",
    r"colours?|centres?|labell(?:ed|ing)|favours?|neighbours?": "US spelling",
}
FORBIDDEN = re.compile("|".join(rf"(?P<w{n}>\b(?:{word})\b)" for n, word in enumerate(INSTEAD)), re.IGNORECASE)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def objections(text: str) -> Iterator[str]:
    for match in FORBIDDEN.finditer(text):
        number = int(str(match.lastgroup)[1:])
        around = text[max(0, match.start() - 40) : match.end() + 40].replace("\n", " ")
        yield f"'{match.group()}' in '...{around}...': say '{list(INSTEAD.values())[number]}'"


def strings_of(path: Path) -> Iterator[str]:
    """Yield the strings of a file, docstrings included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.value


@pytest.mark.parametrize(
    "word", ["Shown anew", "It hears the progress", "5 whole numbers", "It is no volume", "Labelled"]
)
def test_the_former_words_are_found(word):
    assert list(objections(word))


@pytest.mark.parametrize("text", ["Renewed", "There is no volume", "The shear", "labeled colors toward the center"])
def test_standard_words_are_not(text):
    assert not list(objections(text))


def test_strings_and_docstrings_of_the_library():
    found = [
        f"{name(path)}: {objection}"
        for path in sorted(LIBRARY.rglob("*.py"))
        for text in strings_of(path)
        for objection in objections(text)
    ]
    assert not found, "\n".join(found)


def docstrings_and_names(path: Path) -> Iterator[str]:
    """Yield the docstrings of a file, and the names of its functions and classes as words."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)):
            yield ast.get_docstring(node) or ""
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name.replace("_", " ")


def test_docstrings_and_names_of_the_tests():
    found = [
        f"{name(path)}: {objection}"
        for path in sorted((ROOT / "Testing").rglob("*.py"))
        if path != Path(__file__)
        for text in docstrings_and_names(path)
        for objection in objections(text)
    ]
    assert not found, "\n".join(found)


TEXTS = [
    *RESOURCES.glob("UI/*.ui"),
    *RESOURCES.glob("Presets/*/*.json"),
    *(LIBRARY / "core" / "evaluation" / "templates").glob("*.html"),
    ROOT / "DeepVsClassicReg" / "DeepVsClassicReg.py",
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *ROOT.glob("Docs/**/*.md"),
]


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_panel_pages_and_documents(path):
    found = list(objections(path.read_text(encoding="utf-8")))
    assert not found, "\n".join(found)
