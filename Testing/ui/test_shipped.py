"""What ships works in Slicer: no name of PySide6, no keyword constructors, every widget named exists, no styling."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from panel_helpers import MODULE
from slicer_standin import sourcecheck

FOLDER = MODULE.parent
UI, MRML = FOLDER / "DeepVsClassicRegLib" / "ui", FOLDER / "DeepVsClassicRegLib" / "mrml"
FILES = [MODULE, *sorted(UI.glob("*.py")), *sorted((FOLDER / "Testing" / "Python").glob("*.py"))]
DESIGNS = [ElementTree.parse(path) for path in sorted((FOLDER / "Resources" / "UI").glob("*.ui"))]
WIDGETS = [widget for design in DESIGNS for widget in design.iter("widget")]
FRAMES = {"QLabel", "QDialog", "qMRMLWidget", "ctkCollapsibleButton", "QWidget"}
HEAVY = {"torch", "SimpleITK", "itk", "ants", "scipy", "matplotlib", "numba", "pandas"}


def test_nothing_that_slicer_does_not_know():
    assert sourcecheck.violations(FILES) == []


def test_every_widget_that_is_used_exists():
    known = {widget.get("name") for widget in WIDGETS}
    used = set()
    for path in UI.glob("*.py"):
        used |= set(re.findall(r"\bui\.(\w+)", path.read_text(encoding="utf-8")))
    assert used - known == set()


def test_every_widget_but_the_labels_is_used_or_opened_by_the_user():
    text = "".join(path.read_text(encoding="utf-8") for path in UI.glob("*.py"))
    for widget in WIDGETS:
        name = widget.get("name")
        stem = re.sub("(Check|Target|Slider)$", "", name)
        if widget.get("class") not in FRAMES:
            assert name in text or f'"{stem}"' in text, f"{name} does nothing"


def test_every_input_has_a_tool_tip():
    silent = [
        widget.get("name")
        for widget in WIDGETS
        if widget.get("class") not in (FRAMES | {"QProgressBar"})
        and not any(item.get("name") == "toolTip" for item in widget.findall("property"))
    ]
    assert set(silent) <= {"registerButton", "structuresTable"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_heavy_is_imported_and_nothing_is_installed_at_file_scope(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not {name.partition(".")[0] for name in names} & HEAVY
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            assert "pip_" not in ast.unparse(node)


@pytest.mark.parametrize("path", sorted(UI.glob("*.py")), ids=lambda path: path.name)
def test_the_panel_neither_computes_nor_styles(path):
    text = path.read_text(encoding="utf-8")
    assert "setStyleSheet" not in text
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", "") or ""]
            assert not {name.partition(".")[0] for name in names} & HEAVY


def test_texts_are_ready_for_translation():
    """A translated text must not be an f-string, whose placeholders a translator never sees."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_":
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno}"


ERRORS = {"RegistrationError", "FileError", "SettingsError", "InputProblem"}
SHOWN = {"text", "toolTip", "title", "windowTitle"}


@pytest.mark.parametrize("path", [*sorted(UI.glob("*.py")), *sorted(MRML.glob("*.py"))], ids=lambda path: path.name)
def test_everything_the_user_reads_can_be_translated(path):
    """What is put on a widget or shown as a user error is no bare text; `_()` is the only way to write it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        shown: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
            shown = [*node.args[node.func.id == "InputProblem" :][:2], *(word.value for word in node.keywords)]
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
            shown = [node.value] if node.targets[0].attr in SHOWN else []
        for value in shown:
            words = [part.value for part in getattr(value, "values", [value]) if isinstance(part, ast.Constant)]
            text = "".join(word for word in words if isinstance(word, str))
            assert not re.search("[a-z]{2}", re.sub("<[^>]*>?", "", text)), f"{path.name}:{node.lineno}: {text!r}"


def test_the_module_describes_itself(module):
    assert module.title == "Deep vs Classic Registration"
    assert module.categories == ["Registration"]
    assert "doi" in module.acknowledgementText and "arXiv" in module.acknowledgementText
    assert "href" in module.helpText
    assert Path(module.path) == MODULE


def test_the_sample_is_registered(module):
    import slicer

    names = [source.sampleName for sources in slicer.modules.sampleDataSources.values() for source in sources]
    assert "DeepVsClassicRegPhantom" in names


def test_requirements_are_lower_bounds_of_wheels_without_torch():
    lines = (FOLDER / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert wanted
    assert all(">=" in line and "==" not in line for line in wanted)
    assert not any(line.startswith(("torch", "SimpleITK", "numpy")) for line in wanted)
