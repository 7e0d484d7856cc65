"""The results: the verdict, the runs side by side, tables, plots, copying and saving."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core.evaluation.locations import Location
from ..core.evaluation.measures import MEASURES
from ..core.evaluation.report import Aspect
from ..core.evaluation.verdict import BAD, CHECK, GOOD, UNKNOWN, best_report, further_reasons, judge_report
from ..core.files import write_text
from ..mrml.dicom import save_dicom
from ..mrml.inputs import is_from_dicom
from ..mrml.nodes import save_for_undo
from ..mrml.runs import Run, add_views, count_views, forget_run, forget_views, restore_runs, size_of_views
from ..mrml.tables import table_text, unique_titles, update_label_plot, update_measures_table
from .preferences import has_scene_table, scene_chart, scene_table
from .report_page import CapturedViews, page, pictures_of_views
from .rich_text import faint
from .scheduling import Signal
from .tables import explained, fill_structures, fill_summary, fit_table, keep_fitted

MARKS = {GOOD: ("#3a9d5d", "✔"), CHECK: ("#d98c00", "⚠"), BAD: ("#d9534f", "✖"), UNKNOWN: ("#888888", "○")}
MOST_PLACES = 3
# Added views are saved in the scene, as text: few enough that it stays quick to save and to open.
MOST_VIEWS, MOST_VIEW_BYTES = 20, 20_000_000
LABEL_MEASURES = tuple(name for name, measure in MEASURES.items() if name.endswith("_per_label"))


class ResultsSection:
    """The finished runs of the scene.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    shown : callable
        Called with the run to show, or None.
    go : callable
        Called with the location to show.
    caption : callable
        Describes what the slice views show.

    Attributes
    ----------
    tabs : QTabBar
        One tab per run.
    parameter_node : vtkMRMLScriptedModuleNode or None
        Knows the runs.
    measured_now : callable
        Returns whether measures of a run are still being computed.
    """

    def __init__(
        self,
        ui: Any,
        shown: Callable[[Run | None], None],
        go: Callable[[Location], None],
        caption: Callable[[], str],
    ) -> None:
        self._ui, self._shown, self._go, self._caption = ui, shown, go, caption
        self.parameter_node: Any = None
        self.measured_now: Callable[[Run], bool] = lambda _run: False
        self._loading = False
        self.plotting = Signal()  # a plot is about to change the layout
        self.runs: list[Run] = []
        self.tabs = qt.QTabBar(ui.runFrame)
        self.tabs.objectName = "runTabs"
        self.tabs.expanding = False
        self.tabs.usesScrollButtons = True
        ui.runFrame.layout().addWidget(self.tabs)
        self.tabs.connect("currentChanged(int)", self._on_tab)
        for table in (ui.measuresTable, ui.structuresTable):
            keep_fitted(table)
        for name in LABEL_MEASURES:
            ui.structureMeasureCombo.addItem(MEASURES[name].title, name)
        ui.structureMeasureCombo.connect("currentIndexChanged(int)", lambda _index: self._show_structures())
        ui.structuresButton.connect("contentsCollapsed(bool)", lambda _collapsed: self._show_structures())
        ui.verdictLabel.connect("linkActivated(QString)", self._on_place)
        ui.plotButton.connect("clicked()", self.show_plot)
        ui.copyButton.connect("clicked()", self.copy)
        ui.csvButton.connect("clicked()", self._on_csv)
        ui.htmlButton.connect("clicked()", self._on_html)
        ui.dicomButton.connect("clicked()", self._on_dicom)
        ui.forgetButton.connect("clicked()", self.forget)
        menu = qt.QMenu(ui.moreButton)
        self.capture_action = _added_action(menu, "", self.capture_views)
        self.uncapture_action = _added_action(menu, _("Remove the added views"), self.forget_views)
        self.transform_action = _added_action(menu, _("Open in the module Transforms"), self.open_transform)
        ui.moreButton.setMenu(menu)
        self.refresh()

    @property
    def run(self) -> Run | None:
        """The shown run."""
        index = self.tabs.currentIndex
        return self.runs[index] if 0 <= index < len(self.runs) else None

    def load(self, parameter_node: Any) -> None:
        """Show the runs of a scene and select the newest."""
        self.parameter_node = parameter_node
        self.runs = restore_runs(parameter_node) if parameter_node is not None else []
        self._loading = True
        while self.tabs.count:
            self.tabs.removeTab(0)
        for run, title in zip(self.runs, unique_titles(self.runs), strict=True):
            index = self.tabs.addTab(title)
            self.tabs.setTabToolTip(index, run.title)
        self.tabs.currentIndex = len(self.runs) - 1
        self._loading = False
        self.refresh()

    def follow_nodes(self) -> None:
        """Remove deleted runs and refill deleted tables."""
        if any(not run.exists for run in self.runs):
            self.load(self.parameter_node)
        elif self.runs and not has_scene_table("summary", self.parameter_node):
            self._show_tables()

    def choose(self, run: Run) -> None:
        """Select a run."""
        found = [index for index, other in enumerate(self.runs) if other.record is run.record]
        if found:
            self.tabs.currentIndex = found[0]

    def choose_best(self, runs: Sequence[Run]) -> None:
        """Select the best of some runs, such as those just compared."""
        records = [run.record for run in runs]
        rivals = [run for run in self.runs if run.record in records]
        if rivals:
            self.choose(rivals[best_report([run.typed_report for run in rivals])])

    def forget(self) -> None:
        """Remove the shown run and the nodes it made."""
        run = self.run
        if run is not None:
            self._shown(None)
            save_for_undo()
            forget_run(self.parameter_node, run, delete_outputs=True)
            self.load(self.parameter_node)

    def copy(self) -> None:
        """Copy the table of measures."""
        slicer.app.clipboard().setText(table_text(self._all_measures()))

    def save_csv(self, path: str) -> None:
        """Save the table of measures."""
        text = table_text(self._all_measures(), delimiter=",")
        with slicer.util.tryWithErrorDisplay(_("The table could not be saved.")):
            write_text(Path(path), text)

    def save_page(self, path: str) -> None:
        """Save a page with the verdict, the current views and all measures."""
        run = self.run
        if run is None:
            return
        tables = [(_("Measures"), self._all_measures())]
        if any(other.measures.get("dice_per_label") for other in self.runs):
            tables.append((self._ui.structureMeasureCombo.currentText, self._structure_table()))
        with slicer.util.tryWithErrorDisplay(_("The report could not be saved.")):
            write_text(Path(path), page(self.runs, run, verdict_html(run, links=False), tables))

    def capture_views(self) -> None:
        """Add pictures of the slice views, as they are now, to the report; they are saved with the scene."""
        if self.run is None or not self.capture_action.enabled:
            return
        add_views(self.run, CapturedViews(self._caption(), tuple(pictures_of_views())).to_json())
        self._count_views()
        slicer.util.showStatusMessage(_("The views are in the report."), 3000)

    def forget_views(self) -> None:
        """Remove the added pictures from the report."""
        for run in self.runs:
            forget_views(run)
        self._count_views()

    def open_transform(self) -> None:
        """Open Slicer's module Transforms with the transform of the shown run."""
        if self.run is None:
            return
        with slicer.util.tryWithErrorDisplay(_("The transform could not be shown.")):
            slicer.app.openNodeModule(self.run.need("transform"))

    def save_dicom(self, path: str) -> None:
        """Save the transform of the shown run as a DICOM registration object."""
        if self.run is None:
            return
        with slicer.util.tryWithErrorDisplay(_("The DICOM object could not be saved."), waitCursor=True):
            save_dicom(self.run.need("transform"), Path(path), fixed=self.run.fixed, moving=self.run.moving)

    def show_plot(self) -> None:
        """Show a bar chart per structure beside the slice views."""
        self.plotting.emit()
        chart = scene_chart("structures", self.parameter_node)
        update_label_plot(self.runs, chart, scene_table("plot", self.parameter_node))
        slicer.modules.plots.logic().ShowChartInLayout(chart)

    def _count_views(self) -> None:
        count = sum(map(count_views, self.runs))
        full = count >= MOST_VIEWS or sum(map(size_of_views, self.runs)) >= MOST_VIEW_BYTES
        text = _("Add these views to the report")
        if full:
            text = _("{action} ({count}, no more fit)").format(action=text, count=count)
        elif count:
            text = f"{text} ({count})"
        self.capture_action.text, self.capture_action.enabled = text, not full
        self.uncapture_action.enabled = bool(count)

    def _on_place(self, link: str) -> None:
        found = self.run.look_at if self.run is not None else []
        if link.isdigit() and int(link) < len(found):
            self._go(found[int(link)])

    def _on_tab(self, _index: int) -> None:
        if not self._loading:
            self.refresh()

    def refresh(self) -> None:
        """Show the selected run again."""
        run = self.run
        self._ui.resultButton.visible = run is not None
        self._ui.runFrame.visible = len(self.runs) > 1
        self._count_views()
        if run is not None:
            self._show_report(run)
            self._offer_dicom(run)
            self._show_tables()
        else:
            self._ui.measuresTable.setMRMLTableNode(None)
            self._ui.structuresTable.setMRMLTableNode(None)
        self._shown(run)

    def update(self, run: Run) -> None:
        """Show the report of a run again, which has changed; tab, slice views and sections stay as they are."""
        if not any(other.record is run.record for other in self.runs):
            return
        if self.run is not None:
            self._show_report(self.run)
        self._show_tables()

    def _show_report(self, run: Run) -> None:
        self._ui.verdictLabel.text = verdict_html(run, measured_now=self.measured_now(run))
        notes = run.typed_report.notes
        self._ui.notesLabel.text = "<br>".join(faint(note) for note in notes)
        self._ui.notesLabel.visible = bool(notes)

    def _offer_dicom(self, run: Run) -> None:
        button = self._ui.dicomButton
        button.enabled = is_from_dicom(run.fixed) and is_from_dicom(run.moving)
        button.toolTip = (
            _("Save the transform as a DICOM registration object, which refers to the series of both volumes.")
            if button.enabled
            else _("A DICOM registration object needs two volumes that were loaded with the DICOM module.")
        )

    def _show_tables(self) -> None:
        table = scene_table("summary", self.parameter_node)
        fill_summary(self.runs, table)
        self._ui.measuresTable.setMRMLTableNode(table)
        fit_table(self._ui.measuresTable)
        self._ui.measuresTable.toolTip = explained(self.runs)
        self._ui.structuresButton.visible = any(run.measures.get("dice_per_label") for run in self.runs)
        self._show_structures()

    def _show_structures(self) -> None:
        if self._ui.structuresButton.collapsed or not self.runs:
            return
        self._ui.structuresTable.setMRMLTableNode(self._structure_table())
        fit_table(self._ui.structuresTable)

    def _all_measures(self) -> Any:
        table = scene_table("measures", self.parameter_node)
        update_measures_table(self.runs, table)
        return table

    def _structure_table(self) -> Any:
        table = scene_table("structures", self.parameter_node)
        fill_structures(self.runs, self._ui.structureMeasureCombo.currentData, table)
        return table

    def _on_csv(self) -> None:
        path = qt.QFileDialog.getSaveFileName(
            self._ui.csvButton, _("Save the table"), "measures.csv", _("Table") + " (*.csv)"
        )
        if path:
            self.save_csv(path)

    def _on_dicom(self) -> None:
        path = qt.QFileDialog.getSaveFileName(
            self._ui.dicomButton, _("Save the transform"), "registration.dcm", "DICOM (*.dcm)"
        )
        if path:
            self.save_dicom(path)

    def _on_html(self) -> None:
        path = qt.QFileDialog.getSaveFileName(
            self._ui.htmlButton, _("Save the report"), "report.html", _("Web page") + " (*.html)"
        )
        if path:
            self.save_page(path)


def _added_action(menu: Any, text: str, triggered: Callable[[], None]) -> Any:
    action = menu.addAction(text)
    action.connect("triggered()", triggered)
    return action


def verdict_html(run: Run, *, links: bool = True, measured_now: bool = False) -> str:
    """Return the verdict of a run as rich text: a colored headline, its aspects, failed checks, and where to look.

    Measures that are missing are named last; they have no part in the verdict.
    """
    verdict = judge_report(run.typed_report)
    color, mark = MARKS[verdict.level]
    parts = [
        f'<span style="color:{color}; font-size:large"><b>{mark}&nbsp;{html.escape(verdict.headline)}</b></span>',
        _aspects_html(verdict.aspects),
        html.escape(verdict.sentence),
    ]
    if run.missing:
        text = _("Still measuring: {what}.") if measured_now else _("Not measured: {what}.")
        missing = [faint(text.format(what=run.missing))]
    else:
        missing = []
    if verdict.level == GOOD:
        return "<br>".join([*parts, *missing])
    # The headline already contains the most severe reason.
    parts += [f"•&nbsp;{html.escape(text)}" for text in further_reasons(run.typed_report)]
    places = [place.text.removesuffix(".") for place in run.look_at[:MOST_PLACES]]
    if places:
        shown = [f'<a href="{index}">{html.escape(text)}</a>' for index, text in enumerate(places)] if links else places
        parts.append(_("Look at: {places}").format(places="; ".join(shown)))
    return "<br>".join([*parts, *missing])


def _aspects_html(aspects: Sequence[Aspect]) -> str:
    """Return one line with the mark and the title of each kind of evidence."""
    shown = []
    for aspect in aspects:
        color, mark = MARKS[aspect.level]
        title = html.escape(aspect.title).replace(" ", "&nbsp;")
        shown.append(f'<span style="color:{color}">{mark}</span>&nbsp;{title}')
    return " &nbsp; ".join(shown)
