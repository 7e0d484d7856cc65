"""The panel at the width Slicer gives it: nothing widens it, and what a user needs next is in view."""

from __future__ import annotations

import pytest
import qt
import slicer
from panel_helpers import choose, settle, wait

PANEL_WIDTH = 430
# Slicer adds the length of a scroll bar's buttons and handle to what a module asks for.
MOST_MODULE_WIDTH = PANEL_WIDTH - 50


def widest(widget) -> list[str]:
    """Return the widgets that ask for the most width, outermost first, for the message of a failure."""
    seen = [child for child in widget.findChildren(qt.QWidget) if not child.isHidden()]
    found = [(max(child.minimumSizeHint.width(), child.minimumWidth), child.objectName) for child in seen]
    return [f"{width} {name}" for width, name in sorted(found, reverse=True)[:12]]


def assert_not_widened() -> None:
    """Fail when the module asks for more width than its panel has: Slicer then makes the views narrower."""
    settle()
    module = slicer.util.mainWindow()._panel._scroll.widget()
    assert module.minimumSizeHint.width() <= MOST_MODULE_WIDTH, widest(module)


def assert_in_view(widget) -> None:
    """Fail unless a widget is seen as a whole without scrolling."""
    settle()
    viewport = slicer.util.mainWindow()._panel._scroll.viewport()
    top = widget.mapTo(viewport, qt.QPoint(0, 0)).y()
    assert widget.isVisible() and top >= 0 and top + widget.height <= viewport.height, (widget.objectName, top)


def open_all(ui) -> None:
    """Open every section, those inside sections too."""
    for section in (getattr(ui, name) for name in dir(ui) if name.endswith("Button")):
        if hasattr(section, "collapsed"):
            section.collapsed = False


# Menus, tool bars, help, data probe and status bar leave a module this much less height than the screen has.
SLICER_ITSELF = 250


@pytest.fixture(params=[(1680, 1050), (1280, 800)], ids=["1680x1050", "1280x800"])
def window(request, ui):
    """The window on a screen users have, the panel as wide as Slicer makes it."""
    from slicer_standin import screenshots

    window = slicer.util.mainWindow()
    width, height = request.param
    window.resize(width, height - SLICER_ITSELF)
    window.show()
    window.resizeDocks([window.findChild(qt.QObject, "PanelDockWidget")], [PANEL_WIDTH], qt.Qt.Horizontal)
    screenshots.settle()
    assert window._panel.width == PANEL_WIDTH
    yield window
    window.hide()


def test_no_engine_with_all_its_settings_widens_the_panel(panel, picked, ui, window):
    open_all(ui)
    for index in range(ui.engineCombo.count):
        if ui.engineCombo.itemData(index):
            ui.engineCombo.currentIndex = index
            form = panel.engines.form
            if form is not None and form.more is not None:
                form.more.collapsed = False
            assert_not_widened()


def test_values_that_are_found_automatically_say_so(panel, picked, ui):
    choose(ui.engineCombo, "elastix")
    fields = panel.engines.form.fields
    for name in ("grid_spacing_mm", "iterations", "samples"):
        assert fields[name].widget.text == "automatic", name
        assert fields[name].value() == 0
    assert fields["metric"].widget.currentText == "automatic"
    assert panel.engines.form.changes() == {}
    fields["grid_spacing_mm"].widget.value = 8.0
    assert fields["grid_spacing_mm"].widget.text == "8.00 mm"
    fields["metric"].widget.currentIndex = 1
    assert set(panel.engines.form.changes()) == {"grid_spacing_mm", "metric"}


def test_a_run_that_ended_is_in_view_and_what_is_done_is_closed(panel, finish, ui, window):
    open_all(ui)
    finish()
    for name in ("inputs", "advice", "method", "outputs", "progress", "machine"):
        assert getattr(ui, f"{name}Button").collapsed, name
    assert_in_view(ui.verdictLabel)
    assert_in_view(ui.jacobianButton)
    assert_in_view(ui.foldButton)


def test_results_of_three_runs_fit_the_width_without_scrolling(panel, finish, ui, window):
    for engine in ("instance", "elastix", "sitk-demons"):
        finish(engine=engine)
        ui.structuresButton.collapsed = False
        assert_not_widened()
        for table in (ui.measuresTable, ui.structuresTable):
            widths = [table.columnWidth(column) for column in range(table.model().columnCount())]
            assert table.horizontalScrollBar().maximum == 0, (engine, table.objectName, widths, table.viewport().width)
    ui.structuresButton.collapsed = True


def test_long_names_of_runs_do_not_widen_the_panel(panel, finish, ui, window):
    for engine in ("network+refine", "network+refine:fine", "sitk-bspline", "convexadam", "instance"):
        finish(engine=engine)
        ui.structuresButton.collapsed = False
        assert_not_widened()
    assert "TRE" in ui.measuresTable.toolTip and "Landmark error" in ui.measuresTable.toolTip
    ui.structuresButton.collapsed = True


def test_the_best_of_several_runs_is_the_one_shown(panel, picked, ui, fake, window):
    choose(ui.engineCombo, "compare")
    for name, (check, _combo) in panel.engines.compare_list.rows.items():
        check.checked = name in ("sitk-demons", "sitk-bspline", "linear")
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    ui.registerButton.click()
    for number in range(3):
        wait(lambda number=number: len(fake.processes) > number and fake.processes[number].started)
        wait(lambda: panel.runner.current is not None and panel.runner.current.state == "computing")
        fake.processes[number].finish(worse=number != 1)
    wait(lambda: not panel.busy)
    assert len(panel.results.runs) == 3
    assert panel.results.run == panel.results.runs[1]
    assert panel.qa.inspection.run == panel.results.runs[1]


def test_there_is_no_blank_plot_in_the_log(panel, picked, ui, fake, window):
    ui.progressButton.collapsed = False
    ui.registerButton.click()
    fake.process.progress(0.5, "Deform", 1.0)
    settle()
    assert ui.metricPlot.isHidden()
    for value in (0.9, 0.8, 0.7):
        fake.process.progress(0.6, "Deform", value)
    wait(lambda: not ui.metricPlot.isHidden())
    ui.progressButton.collapsed = True
    fake.process.finish()
    wait(lambda: not panel.busy)
    ui.progressButton.collapsed = False  # the plot of the last run is drawn when the section is opened afterwards
    wait(lambda: not panel.run.redraw_timer.active)
    assert not ui.metricPlot.isHidden() and not ui.metricPlot.pixmap.isNull()
