"""Every example in a docstring and in the README runs and gives what it says."""

import doctest
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "DeepVsClassicReg" / "DeepVsClassicRegLib"
WITH_EXAMPLES = [
    path
    for room in ("core", "worker", "cli")
    for path in sorted((LIBRARY / room).rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts)


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=module_name)
def test_docstring_examples(path):
    outcome = doctest.testmod(importlib.import_module(module_name(path)), optionflags=doctest.ELLIPSIS)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def blocks(page: Path, language: str) -> list[str]:
    """Return the examples of a page; those for Slicer's console and those without a language are not run."""
    found = re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S)
    return [block for block in found if "slicer." not in block]


PAGES = [page for page in (ROOT / "README.md", *sorted(ROOT.glob("Docs/**/*.md"))) if blocks(page, "bash")]


# Half a minute each; `make test-slow` runs them.
SLOW = ("choose_engine", "cohort", "train")
EACH_PAGE = [pytest.param(page, marks=[pytest.mark.slow] if page.stem in SLOW else [], id=page.stem) for page in PAGES]


def run(command: list[str], folder: Path) -> None:
    """Run a program in the folder as a user would after the installation."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(LIBRARY.parent)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr


def test_pages_with_examples_are_found():
    assert len(PAGES) > 5 and PAGES[0].name == "README.md"


@pytest.mark.parametrize("page", EACH_PAGE)
def test_commands_and_python_of_a_page(page, tmp_path):
    """In one folder: Python reads what the commands wrote."""
    run([shutil.which("bash") or "bash", "-c", "set -euo pipefail\n" + "\n".join(blocks(page, "bash"))], tmp_path)
    run([sys.executable, "-c", "\n".join(blocks(page, "python"))], tmp_path)
