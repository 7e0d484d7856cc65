"""Repairs the shown run: pairs of points, preview, registration around them, and steps back and forth."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..core.device import Compute
from ..core.errors import RegistrationError
from ..mrml.repair import PointPairs, shown_place
from ..mrml.runs import Run, repairs_of
from .qa_section import QaSection
from .rich_text import line
from .runner import Runner
from .tasks import repair_request


class RepairSection:
    """The section *Repair* of the results.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    runner : Runner
        Runs the registrations.
    compute : callable
        Returns device, threads and seed.
    qa : QaSection
        Shows the runs.
    choose : callable
        Called with the run to select.
    """

    def __init__(
        self, ui: Any, runner: Runner, compute: Callable[[], Compute], qa: QaSection, choose: Callable[[Run], None]
    ) -> None:
        self._ui, self._runner, self._compute, self._qa, self._choose = ui, runner, compute, qa, choose
        self._run: Run | None = None
        self._parameter_node: Any = None
        self.pairs: PointPairs | None = None
        ui.repairAddButton.connect("clicked()", self.add)
        ui.repairPlaceButton.connect("toggled(bool)", self._on_place)
        ui.repairRemoveButton.connect("clicked()", self._on_remove)
        ui.repairPreviewButton.connect("toggled(bool)", self._on_preview)
        ui.repairRegisterButton.connect("clicked()", self.register)
        ui.repairUndoButton.connect("clicked()", self._on_undo)
        ui.repairRedoButton.connect("clicked()", self._on_redo)
        ui.repairBeforeButton.connect("toggled(bool)", self._on_before)
        self._enable()

    def show(self, run: Run | None, parameter_node: Any) -> None:
        """Offer to repair a run; None hides the section."""
        if run != self._run:
            self.close()
        self._run, self._parameter_node = run, parameter_node
        self._enable()

    def add(self) -> None:
        """Add a pair where the slice views meet, such as a location of the verdict."""
        pairs = self._need_pairs()
        if pairs is not None:
            pairs.add(shown_place())

    def register(self) -> None:
        """Queue the registration around the points."""
        run, pairs = self._run, self.pairs
        if run is None or pairs is None:
            return
        try:
            moving = pairs.moving_points()
            request = repair_request(
                run,
                pairs.fixed,
                moving,
                compute=self._compute(),
                parameter_node=lambda: self._parameter_node,
                in_steps=True,
            )
        except RegistrationError as error:
            self._say(line("error", error.message, error.hint or ""))
            return
        pairs.close(keep_fixed=True)
        self.pairs = None
        self._reset_buttons()
        self._runner.submit([request])
        self._enable()

    def close(self) -> None:
        """Remove the points and the preview."""
        pairs, self.pairs = self.pairs, None
        if pairs is not None:
            pairs.close()
        self._reset_buttons()
        self._say("")

    def _need_pairs(self) -> PointPairs | None:
        if self.pairs is not None and self.pairs.fixed.GetScene() and self.pairs.warped.GetScene():
            return self.pairs
        self.close()
        if self._run is not None and self._run.exists:
            self.pairs = PointPairs(self._run, self._enable)
        return self.pairs

    def _on_place(self, on: bool) -> None:
        pairs = self._need_pairs() if on else self.pairs
        if pairs is not None:
            pairs.place_by_mouse(on)

    def _on_remove(self) -> None:
        if self.pairs is not None:
            self.pairs.remove_last()

    def _on_preview(self, on: bool) -> None:
        if self.pairs is None:
            return
        try:
            if on:
                self._qa.show("blend")
            self.pairs.preview(on)
        except RegistrationError as error:
            self._say(line("error", error.message, error.hint or ""))

    def _on_undo(self) -> None:
        if self._run is not None and self._run.base is not None:
            self._choose(self._run.base)

    def _on_redo(self) -> None:
        later = self._later()
        if later:
            self._choose(later[-1])

    def _on_before(self, before: bool) -> None:
        if self._run is not None:
            self._qa.set_run(self._run.base if before and self._run.base is not None else self._run)

    def _later(self) -> list[Run]:
        if self._run is None or self._parameter_node is None:
            return []
        return repairs_of(self._parameter_node, self._run)

    def _reset_buttons(self) -> None:
        for button in (self._ui.repairPlaceButton, self._ui.repairPreviewButton, self._ui.repairBeforeButton):
            button.blockSignals(True)
            button.checked = False
            button.blockSignals(False)

    def _enable(self) -> None:
        ui, run = self._ui, self._run
        count = self.pairs.count if self.pairs is not None else 0
        ui.repairButton.visible = run is not None
        for button in (ui.repairRemoveButton, ui.repairPreviewButton, ui.repairRegisterButton):
            button.enabled = count > 0
        base = run.base if run is not None else None
        ui.repairUndoButton.enabled = ui.repairBeforeButton.enabled = base is not None
        ui.repairRedoButton.enabled = bool(self._later())
        if self.pairs is not None:
            self._say(html.escape(_("Pairs of points: {count}.").format(count=count)))

    def _say(self, rich: str) -> None:
        self._ui.repairMessageLabel.text = rich
        self._ui.repairMessageLabel.visible = bool(rich)
