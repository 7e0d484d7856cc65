"""The estimated error in the panel: asked for by a check box, remembered by the scene, gray without PyTorch."""

from __future__ import annotations

from DeepVsClassicRegLib.core.engines import error_map
from DeepVsClassicRegLib.core.engines.base import Requirement
from DeepVsClassicRegLib.core.job import ERROR_MODEL, Job
from DeepVsClassicRegLib.ui.outputs_section import OutputsSection


def test_it_is_made_on_request_only(ui, fake, finish):
    ui.keepFilesCheck.checked = True
    assert not ui.errorCheck.checked
    finish()
    job = Job.read(fake.process.folder)
    assert ERROR_MODEL not in job.options
    assert not ui.errorButton.enabled and not ui.errorPlaceButton.enabled
    ui.errorCheck.checked = True
    finish()
    job = Job.read(fake.process.folder)
    assert job.options[ERROR_MODEL] == "auto" and "error" in job.outputs


def test_the_scene_remembers_it(panel, picked, ui):
    outputs = panel.outputs
    parameters = outputs._parameters
    ui.errorCheck.checked = True
    outputs.load(None)
    assert not ui.errorCheck.checked and ui.jacobianCheck.checked
    outputs.load(parameters)
    assert ui.errorCheck.checked and "error" in outputs.targets().wanted


def test_it_is_gray_with_a_remedy_without_torch(panel, ui, monkeypatch):
    lacking = Requirement(name="no_such_package", package="torch", title="PyTorch", how="install PyTorch")
    monkeypatch.setattr(error_map, "REQUIRES", (lacking,))
    ui.errorCheck.checked = True
    section = OutputsSection(ui, lambda: None)
    assert not ui.errorCheck.enabled and "error" not in section.targets().wanted
    assert "PyTorch" in ui.errorCheck.toolTip and "Install PyTorch." in ui.errorCheck.toolTip
