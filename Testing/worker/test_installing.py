"""What would be installed is known before, with version, size and license, and never changes what is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata

import pytest
from DeepVsClassicRegLib.core.errors import EngineUnavailable
from DeepVsClassicRegLib.worker.installing import Package, installed_pins, packages_to_add
from package_index import FakeIndex

SCIPY = metadata.version("scipy")
PIP = [sys.executable, "-m", "pip"]


@pytest.fixture
def index(tmp_path):
    """An index with a package that asks for an older SciPy, as antspyx does, and the older SciPy itself."""
    made = FakeIndex(tmp_path / "index")
    made.folder.mkdir()
    made.add("dvc-fake-ants", "0.6.3", needs=("dvc-fake-tool>=1", "scipy<1.0"), lines=("License: Apache-2.0",))
    made.add("dvc-fake-tool", "1.2", needs=("numpy",), lines=("Classifier: License :: OSI Approved :: BSD License",))
    made.add("scipy", "0.19.1")
    made.add("numpy", "99.0")
    return made


def test_packages_have_version_size_and_license(index):
    wheel = index.add("dvc-fake-greedy", "1.4", needs=("dvc-fake-tool",), lines=("License: GPL-3.0",))
    found = {package.name: package for package in packages_to_add(["dvc-fake-greedy>=1"], options=index.options)}
    assert set(found) == {"dvc-fake-greedy", "dvc-fake-tool"}, "numpy is installed and stays"
    assert found["dvc-fake-greedy"] == Package("dvc-fake-greedy", "1.4", "GPL-3.0", wheel.stat().st_size)
    assert found["dvc-fake-tool"].licence == "BSD License"
    assert found["dvc-fake-tool"].pin == "dvc-fake-tool==1.2"


def test_an_installed_package_is_never_changed(index):
    with pytest.raises(EngineUnavailable, match="scipy") as caught:
        packages_to_add(["dvc-fake-ants"], options=index.options)
    assert f"dvc-fake-ants 0.6.3 depends on scipy<1.0, but scipy=={SCIPY} is installed" in caught.value.message
    assert "never changed" in caught.value.hint
    assert not [pin for pin in installed_pins() if pin.startswith("dvc-fake")]


def test_a_package_alone_leaves_its_dependencies_out(index, tmp_path):
    """The command of the panel, into a folder: only what was in the question arrives, and SciPy is not among it."""
    found = packages_to_add(["dvc-fake-tool"], ["dvc-fake-ants>=0.5"], options=index.options)
    assert [package.pin for package in found] == ["dvc-fake-tool==1.2", "dvc-fake-ants==0.6.3"]
    target = tmp_path / "target"
    command = [*PIP, "install", "--quiet", "--no-deps", "--target", str(target), *index.options]
    subprocess.run([*command, *(package.pin for package in found)], check=True, capture_output=True)
    installed = {re.split(r"-\d", path.name)[0] for path in target.glob("*.dist-info")}
    assert installed == {"dvc_fake_tool", "dvc_fake_ants"}
    assert metadata.version("scipy") == SCIPY


def test_an_unknown_package_is_explained(index):
    with pytest.raises(EngineUnavailable, match="dvc-fake-nothing") as caught:
        packages_to_add(["dvc-fake-nothing"], options=index.options)
    assert "network" in caught.value.hint


def test_a_long_license_text_is_not_shown(index):
    text = "License: Apache License Version 2.0 " + "and so on " * 30
    index.add("dvc-fake-long", "1", lines=(text, "Classifier: License :: OSI Approved :: Apache Software License"))
    index.add("dvc-fake-silent", "1")
    found = packages_to_add(["dvc-fake-long", "dvc-fake-silent"], options=index.options)
    assert {package.name: package.licence for package in found} == {
        "dvc-fake-long": "Apache Software License",
        "dvc-fake-silent": "",
    }
