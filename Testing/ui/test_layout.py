"""The panel at the width Slicer gives it: nothing widens it, and what a user needs next is in view."""

from __future__ import annotations

import pytest
import slicer
from panel_helpers import choose, settle

PANEL_WIDTH = 430
# Slicer adds the length of a scroll bar's buttons and handle to what a module asks for.
MOST_MODULE_WIDTH = PANEL_WIDTH - 50


def least_width(ui) -> int:
    """Return the width the module asks for; a wider one makes Slicer squeeze the views."""
    settle()
    return slicer.util.mainWindow()._panel._scroll.widget().minimumSizeHint.width()


def open_all(ui) -> None:
    """Open every section, those inside sections too."""
    for name in dir(ui):
        section = getattr(ui, name)
        if name.endswith("Button") and hasattr(section, "collapsed"):
            section.collapsed = False


@pytest.fixture
def opened(panel, picked, ui):
    """The panel with a picked pair and every section open."""
    slicer.util.mainWindow().show()
    open_all(ui)
    yield ui
    for name in ("moreInputsButton", "caseButton", "outputsButton", "progressButton", "machineButton"):
        getattr(ui, name).collapsed = True
    slicer.util.mainWindow().hide()


def test_no_engine_with_all_its_settings_widens_the_panel(panel, opened, ui):
    for index in range(ui.engineCombo.count):
        if ui.engineCombo.itemData(index):
            ui.engineCombo.currentIndex = index
            form = panel.engines._form
            if form is not None and form._more is not None:
                form._more.collapsed = False
            assert least_width(ui) <= MOST_MODULE_WIDTH, ui.engineCombo.itemData(index)


def test_values_that_are_found_automatically_say_so(panel, picked, ui):
    choose(ui.engineCombo, "elastix")
    fields = panel.engines._form._fields
    for name in ("grid_spacing_mm", "iterations", "samples"):
        assert fields[name].widget.text == "automatic", name
        assert fields[name].value() == 0
    assert fields["metric"].widget.currentText == "automatic"
    assert panel.engines._form.changes() == {}
    fields["grid_spacing_mm"].widget.value = 8.0
    assert fields["grid_spacing_mm"].widget.text == "8.00 mm"
    fields["metric"].widget.currentIndex = 1
    assert set(panel.engines._form.changes()) == {"grid_spacing_mm", "metric"}
