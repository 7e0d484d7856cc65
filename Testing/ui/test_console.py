"""The logic as scripts use it, and the examples of its documentation."""

from __future__ import annotations

import doctest

import mrml_helpers as helpers
import pytest
import slicer
from panel_helpers import settle, wait


@pytest.fixture
def logic(widget):
    """The module's logic, found as the documentation says."""
    found = slicer.util.getModuleLogic("DeepVsClassicReg")
    assert found is widget.logic
    return found


def test_the_documented_example(logic, pair, panel):
    import sys

    names = {"slicer": slicer, "fixedNode": pair.fixed, "movingNode": pair.moving}
    text = type(logic).__doc__
    test = doctest.DocTestParser().get_doctest(text, names, "logic", sys.modules[type(logic).__module__].__file__, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    outcome = runner.run(test)
    assert outcome.attempted > 2
    assert outcome.failed == 0
    settle()
    assert len(logic.runs()) == 1


def test_a_handle_reports_progress_and_the_end(logic, pair, fake):
    updates, ended = [], []
    handle = logic.register(pair.fixed, pair.moving, "sitk-demons", wait=False)
    handle.on_progress(lambda fraction, stage: updates.append((fraction, stage))).on_finished(ended.append)
    fake.process.progress(0.5, "Deforming")
    assert updates[-1][1] == "Deforming"
    assert 0.4 < handle.fraction < 0.6
    assert not handle.over
    fake.process.finish()
    runs = handle.wait(30)
    assert ended == [handle]
    assert runs[0].engine == "sitk-demons"
    assert handle.states == ["finished"]


def test_compare_gives_a_run_per_engine(logic, pair, fake):
    handle = logic.compare(pair.fixed, pair.moving, ["sitk-demons", "sitk-demons:paper"], wait=False)
    fake.process.finish()
    wait(lambda: len(fake.processes) == 2)
    fake.process.finish()
    assert [run.preset for run in handle.wait(30)] == ["default", "paper"]


def test_errors_are_raised_with_their_remedy(logic, pair, fake):
    from DeepVsClassicRegLib.core.errors import Cancelled, RegistrationError

    with pytest.raises(RegistrationError, match="same volume"):
        logic.register(pair.fixed, pair.fixed, "sitk-demons")
    handle = logic.register(pair.fixed, pair.moving, "sitk-demons", wait=False)
    fake.process.end("failed", "It broke.")
    with pytest.raises(RuntimeError, match="It broke"):
        handle.wait(30)
    handle = logic.register(pair.fixed, pair.moving, "sitk-demons", wait=False)
    assert fake.process
    handle.cancel()
    with pytest.raises(Cancelled):
        handle.wait(30)
    with pytest.raises(TimeoutError):
        logic.register(pair.fixed, pair.moving, "sitk-demons", wait=False).wait(0.2)


def test_chosen_outputs_only(logic, pair, fake):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "mine")
    handle = logic.register(
        pair.fixed, pair.moving, "sitk-demons", wait=False, transformNode=node, outputs=["transform"]
    )
    fake.process.finish()
    run = handle.wait(30)[0]
    assert run.transform is node
    assert run.warped is None and run.jacobian is None


def test_evaluate_measures_any_transform(logic, pair, phantom):

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "truth")
    helpers.set_transform(node, phantom.truth)
    measures = logic.evaluate(
        pair.fixed,
        pair.moving,
        node,
        threads=1,
        fixed_points=pair.fixed_points,
        moving_points=pair.moving_points,
    )
    assert measures["after"]["tre_mm_mean"] < 0.2 * measures["before"]["tre_mm_mean"]


def test_engines_are_listed(logic):
    assert logic.engines()["sitk-demons"] == "Demons (SimpleITK)"
