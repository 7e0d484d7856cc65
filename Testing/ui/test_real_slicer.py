"""What ended, or filled the log of, a real Slicer: each case fails here when it comes back."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import qt
import slicer
from panel_helpers import MODULE, choose, settle, wait
from slicer_standin import ownership

ENGINES = ("sitk-demons", "elastix", "network", "linear", "sitk-demons")
CHILD = """
from slicer_standin import boot, errors, modules, ownership, screenshots
slicer = boot.boot()
module = modules.load_module({module!r})
slicer.util.selectModule(module.name)
panel = module.widgetRepresentation().self().panel
combo = panel.ui.engineCombo
for name in {engines}:
    combo.currentIndex = combo.findData(name)
panel.engines.refresh()
panel.models.show()
del combo, panel
modules.unload_module(module.name)
screenshots.settle(3)
print("double deletes:", ownership.double_deletes)
print("errors:", errors.take())
"""


def test_changing_the_engine_deletes_each_form_once(panel, ui):
    before = ownership.double_deletes
    for name in ENGINES:
        choose(ui.engineCombo, name)
        settle(1)
        shown = [child for child in ui.settingsFrame.children() if isinstance(child, qt.QWidget)]
        assert shown.count(panel.engines.form.content) == 1
        assert not [child for child in shown if child.isHidden() and child is not ui.settingsNote]
    assert ownership.double_deletes == before


def test_a_removed_form_is_released_immediately(panel, ui):
    import gc
    import weakref

    choose(ui.engineCombo, "sitk-demons")
    form = weakref.ref(panel.engines.form)
    choose(ui.engineCombo, "elastix")
    gc.collect()
    assert form() is None, "a slot of a widget that is still to be deleted holds the form"


def test_searching_engines_again_keeps_the_rows_of_the_comparison(panel, ui):
    before = ownership.double_deletes
    choose(ui.engineCombo, "compare")
    rows = dict(panel.engines.compare_list.rows)
    rows["sitk-demons"][0].checked = True
    panel.engines.refresh()
    settle(1)
    assert panel.engines.compare_list.rows == rows
    assert rows["sitk-demons"][0].checked
    assert ownership.double_deletes == before


def test_slicer_ends_in_peace():
    program = CHILD.format(module=str(MODULE), engines=ENGINES)
    child = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=300,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.splitlines() == ["double deletes: 0", "errors: []"], child.stderr


@pytest.mark.parametrize("look", ["blend", "contours", "jacobian"])
def test_closing_the_scene_in_the_middle_of_a_comparison_is_silent(panel, picked, ui, fake, recorded_errors, look):
    ui.registerButton.click()
    fake.process.finish()
    wait(lambda: not panel.busy)
    getattr(ui, f"{look}Button").click()
    wait(lambda: not panel.busy)
    slicer.mrmlScene.Clear(0)
    settle()
    assert recorded_errors() == []
