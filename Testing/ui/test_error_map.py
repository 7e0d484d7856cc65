"""The estimated error in the panel: asked for by a check box, remembered by the scene, gray without PyTorch."""

from __future__ import annotations

from DeepVsClassicRegLib.core.engines import error_map
from DeepVsClassicRegLib.core.engines.base import Requirement
from DeepVsClassicRegLib.core.job import ERROR_MODEL, Job
from DeepVsClassicRegLib.ui.outputs_section import OutputsSection
from DeepVsClassicRegLib.ui.preferences import SceneParameters
from panel_helpers import wait


def finished_job(panel, fake):
    """Run a fake registration to its end and return the job it was given."""
    wait(lambda: panel.ui.registerButton.enabled)
    panel.ui.registerButton.click()
    wait(lambda: panel.runner.current is not None and panel.runner.current.state == "computing")
    job = Job.read(fake.process.folder)
    fake.process.finish()
    wait(lambda: not panel.busy)
    return job


def test_it_is_made_on_request_only(panel, picked, ui, fake):
    assert not ui.errorCheck.checked
    assert ERROR_MODEL not in finished_job(panel, fake).options
    assert not ui.errorButton.enabled and not ui.errorPlaceButton.enabled
    ui.errorCheck.checked = True
    job = finished_job(panel, fake)
    assert job.options[ERROR_MODEL] == "auto" and "error" in job.outputs


def test_the_scene_stores_it(panel, picked, ui):
    outputs = panel.outputs
    parameters = SceneParameters(panel.parameter_node)
    ui.errorCheck.checked = True
    outputs.load(None)
    assert not ui.errorCheck.checked and ui.jacobianCheck.checked
    outputs.load(parameters)
    assert ui.errorCheck.checked and "error" in outputs.targets().wanted


def test_it_is_gray_with_a_remedy_without_torch(panel, ui, monkeypatch):
    lacking = Requirement(name="no_such_package", package="torch", title="PyTorch", how="install PyTorch")
    monkeypatch.setattr(error_map, "MODEL_REQUIRES", (lacking,))
    ui.errorCheck.checked = True
    section = OutputsSection(ui, lambda: None)
    assert not ui.errorCheck.enabled and "error" not in section.targets().wanted
    assert "PyTorch" in ui.errorCheck.toolTip and "Install PyTorch." in ui.errorCheck.toolTip
