"""What the Extensions Index checks by itself or asks for, as far as it can be checked without a network."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
ENTRY_FILE = ROOT / "Docs" / "developer" / "DeepVsClassicReg.json"
ENTRY = json.loads(ENTRY_FILE.read_text(encoding="utf-8"))
# Schema 1.0.1 of the index: key -> type; the first three are required.
SCHEMA = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
LARGEST_CLONE = 100e6


def meta(name: str) -> str:
    """Return a value of the extension as the index finds it: one quoted string."""
    return re.findall(rf'set\s*\(EXTENSION_{name}\s*"([^"]+)"\)', CMAKE)[0]


def account() -> str:
    return meta("HOMEPAGE").rsplit("/", 2)[1]


def pictures() -> list[str]:
    return [*meta("SCREENSHOTURLS").split(), meta("ICONURL")]


def test_entry_follows_the_schema():
    assert set(ENTRY) <= set(SCHEMA) and set(list(SCHEMA)[:3]) <= set(ENTRY)
    assert all(isinstance(value, SCHEMA[key]) for key, value in ENTRY.items())
    assert re.search(r"slicer-extension-catalog-entry-schema-v1\.0\.\d\.json#$", ENTRY["$schema"])
    assert ENTRY["tier"] == 1
    text = ENTRY_FILE.read_bytes()
    assert b"\r" not in text and text.endswith(b"}\n")


def test_entry_agrees_with_cmake():
    assert re.findall(r"project\s*\(\s*(\w+)", CMAKE)[0] == ENTRY_FILE.stem
    assert [meta("DEPENDS")] == ENTRY["build_dependencies"] == ["PyTorch"]
    assert meta("CATEGORY") == ENTRY["category"] == "Registration"
    assert ENTRY["scm_url"] == f"{meta('HOMEPAGE')}.git"
    assert ENTRY["scm_url"].rsplit("/", 1)[1] == f"Slicer{ENTRY_FILE.stem}.git"


def test_description_is_one_sentence_without_jargon():
    text = meta("DESCRIPTION")
    assert len(text) < 200 and text.endswith(".") and text.count(".") == 1
    assert not re.search(r"optimi|network|deformable|transform|registration", text, flags=re.I)


@pytest.mark.parametrize("url", pictures())
def test_pictures_are_files_of_the_repository(url):
    base = f"https://raw.githubusercontent.com/{account()}/SlicerDeepVsClassicReg/main/"
    assert url.startswith(base)
    header = (ROOT / url.removeprefix(base)).read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    if url == meta("ICONURL"):
        assert struct.unpack(">II", header[16:24]) == (128, 128)


def test_there_are_several_pictures():
    assert len(set(pictures())) > 3


def test_names_are_in_one_place():
    names = ROOT / "DeepVsClassicReg" / "Resources" / "contributors.txt"
    lines = names.read_text(encoding="utf-8").splitlines()
    assert lines and all(line.strip() == line and line for line in lines)
    assert 'file(STRINGS "DeepVsClassicReg/Resources/contributors.txt" EXTENSION_CONTRIBUTORS)' in CMAKE
    assert '"contributors.txt"' in (ROOT / "DeepVsClassicReg" / "DeepVsClassicReg.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", ["pyproject.toml", "DeepVsClassicReg/DeepVsClassicReg.py"])
def test_every_address_has_the_same_account(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    assert set(re.findall(r"github\.com/([\w-]+)/SlicerDeepVsClassicReg", text)) == {account()}


def test_readme_has_what_a_homepage_needs():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for heading in ("# DeepVsClassicReg", "## Modules", "## Cite", "## License"):
        assert f"\n{heading}\n" in f"\n{text}"
    assert "**Deep vs Classic Registration**" in text and "Apache-2.0" in text and "tutorial.md" in text


def test_every_requirement_has_a_state_and_evidence():
    text = (ROOT / "Docs" / "developer" / "extensions_index.md").read_text(encoding="utf-8")
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    states = [cells[1].strip(" |") for cells in lines if cells[0] not in ("Requirement", "Check")]
    assert len(states) > 25 and set(states) == {"done", "owner", "open"}
    assert all(len(cells) == 3 for cells in lines if cells[1] == "done")


def test_a_clone_is_small_enough():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a clone")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert sum(path.stat().st_size for path in files if path.is_file()) < LARGEST_CLONE / 2


def test_workflows_are_valid():
    files = sorted(map(str, (ROOT / ".github" / "workflows").glob("*.yml")))
    assert len(files) == 3
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *files]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr


def test_workflows_call_what_exists():
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for targets in re.findall(r"run: make ([a-z ]+)", text):
        assert all(f"\n{target}:" in makefile for target in targets.split())
    for path in re.findall(r"(?<!slicer/)\b(Testing/[\w./-]+)", text):
        assert (ROOT / path).is_file(), path
