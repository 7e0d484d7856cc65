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


def readme_blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder for all examples, because later ones use what earlier ones wrote."""
    return tmp_path_factory.mktemp("readme")


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(LIBRARY.parent)}


def test_readme_commands(folder):
    blocks = [block for block in readme_blocks("bash") if "dvcreg" in block and "make" not in block]
    assert blocks, "the README shows no command line example"
    script = "set -euo pipefail\n" + "\n".join(blocks)
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-c", script],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_readme_python(folder):
    blocks = [block for block in readme_blocks("python") if "slicer." not in block]
    assert blocks, "the README shows no Python example"
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
