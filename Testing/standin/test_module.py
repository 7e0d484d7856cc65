"""A scripted module lives here as in Slicer: loaded, entered, scene closed, reloaded, tested, unloaded."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slicer
from slicer_standin import boot, modules

TINY = Path(__file__).parent / "TinyModule" / "TinyModule.py"


@pytest.fixture
def tiny(slicer_scene):
    yield modules.load_module(TINY)
    modules.unload_module("TinyModule")


def test_module_is_registered(tiny):
    assert slicer.modules.tinymodule is tiny
    assert tiny.title == "Tiny module"
    assert tiny.categories == ["Registration"]
    assert slicer.util.modulePath("TinyModule") == str(TINY)
    assert "TinyModule" in slicer.util.moduleNames()
    assert modules.load_module(TINY) is tiny
    assert slicer.modules.sampleDataSources["Tiny"][0].sampleName == "TinyPair"


def test_metadata_that_slicer_does_not_know_is_refused(tiny):
    with pytest.raises(AttributeError):
        tiny.licence = "Apache"


def test_panel_follows_the_scene(tiny):
    widget = tiny.widgetRepresentation().self()
    assert slicer.util.getModuleWidget("TinyModule") is widget is slicer.modules.TinyModuleWidget
    assert widget.ui.applyButton.enabled is False
    assert widget.ui.exportPath.filters == widget.ui.exportPath.Files | widget.ui.exportPath.Writable
    volume = slicer.util.addVolumeFromArray(np.arange(24.0).reshape(2, 3, 4), name="head")
    assert widget.ui.inputSelector.currentNode() is None, "noneEnabled keeps None"
    widget.ui.inputSelector.setCurrentNode(volume)
    assert (widget.ui.applyButton.enabled, widget.ui.statusLabel.text) == (True, "head")
    output = widget.ui.outputSelector.addNode()
    assert output.GetName() == "Inverted"
    widget.ui.applyButton.click()
    assert slicer.util.arrayFromVolume(output).max() == 23.0
    widget.ui.opacitySlider.value = 0.25
    assert widget.events[-1] == ("opacity", 0.25)


def test_failure_in_a_slot_is_recorded(tiny, recorded_errors):
    widget = tiny.widgetRepresentation().self()
    widget.ui.inputSelector.setCurrentNode(slicer.util.addVolumeFromArray(np.zeros((2, 2, 2))))
    widget.ui.applyButton.click()
    assert "Output volume is missing" in "".join(recorded_errors())


def test_enter_exit_and_scene_close(tiny, slicer_scene):
    slicer.util.selectModule("TinyModule")
    widget = slicer.modules.TinyModuleWidget
    assert slicer.util.selectedModule() == "TinyModule"
    node = widget.parameterNode
    assert node.GetSingletonTag() == "TinyModule"
    slicer_scene.Clear(0)
    assert widget.events == ["enter", "startClose", "endClose"]
    assert widget.parameterNode is not None
    boot.main_window()._panel.leave()
    assert widget.events[-1] == "exit"
    slicer_scene.Clear(0)
    assert widget.parameterNode is None


def test_reload_gives_a_new_panel_and_silences_the_old(tiny, slicer_scene, wait_until):
    slicer.util.selectModule("TinyModule")
    old = slicer.modules.TinyModuleWidget
    old.timer.start()
    wait_until(lambda: "tick" in old.events)
    source = slicer.util.reloadScriptedModule("TinyModule")
    new = slicer.modules.TinyModuleWidget
    assert new is not old
    assert source is sys.modules["TinyModule"]
    assert new.events == ["enter"]
    assert old.events[-1] == "cleanup"
    seen = len(old.events)
    slicer_scene.Clear(0)
    assert len(old.events) == seen, "the old panel still receives scene events"
    assert new.events[-1] == "endClose"
    assert slicer.util.getModuleLogic("TinyModule") is new.logic


def test_own_test_class_runs(tiny):
    slicer.selfTests["TinyModule"]()


def test_second_scene_like_the_generic_tests(tiny):
    tiny.widgetRepresentation()
    other = slicer.vtkMRMLScene()
    tiny.setMRMLScene(other)
    assert tiny.widgetRepresentation().mrmlScene() is other


def test_without_main_window(tiny):
    boot.close_main_window()
    try:
        assert slicer.util.mainWindow() is None
        assert tiny.widgetRepresentation().self().logic is not None
        with pytest.raises(RuntimeError, match="main window"):
            slicer.util.selectModule("TinyModule")
    finally:
        boot.boot()


def test_unloading_leaves_nothing(slicer_scene):
    modules.load_module(TINY)
    slicer.util.selectModule("TinyModule")
    widget = slicer.modules.TinyModuleWidget
    modules.unload_module("TinyModule")
    assert widget.events[-2:] == ["exit", "cleanup"]
    assert not hasattr(slicer.modules, "tinymodule")
    assert "TinyModule" not in sys.modules
    with pytest.raises(RuntimeError, match="Could not find module"):
        slicer.util.getModule("TinyModule")


SCRIPT = """
import sys; sys.path.insert(0, {testing!r})
from slicer_standin.boot import boot
slicer = boot()
from slicer_standin import core, modules
modules.load_module({tiny!r})
slicer.util.selectModule("TinyModule")
slicer.modules.TinyModuleWidget.timer.start()
slicer.app.processEvents()
print(core.home)
{end}
"""


@pytest.mark.parametrize(("end", "code"), [("", 0), ("raise SystemExit(3)", 3)])
def test_process_ends_cleanly_and_removes_its_folder(end, code):
    script = SCRIPT.format(testing=str(Path(__file__).parents[1]), tiny=str(TINY), end=end)
    child = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, encoding="utf-8", timeout=300
    )
    assert child.returncode == code, child.stderr
    assert child.stderr == ""
    assert not Path(child.stdout.strip().splitlines()[-1]).exists()
