"""The list of queued runs: shown when there is more than one; each run can be removed."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from .runner import Runner
from .tasks import RegistrationTask


class QueueList:
    """The runs of the queue, the running one first.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    runner : Runner
        The runner whose queue is shown.
    """

    def __init__(self, ui: Any, runner: Runner) -> None:
        self._ui, self._runner = ui, runner
        self._shown: tuple[RegistrationTask, ...] = ()
        ui.removeRunButton.connect("clicked()", self._on_remove)
        ui.queueList.connect("currentRowChanged(int)", lambda _row: self._enable())
        runner.queued.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Update the list; the selected run stays selected."""
        widget, chosen = self._ui.queueList, self._chosen()
        current = (self._runner.current,) if self._runner.current is not None else ()
        self._shown = (*current, *self._runner.waiting)
        widget.blockSignals(True)
        widget.clear()
        for number, task in enumerate(self._shown):
            text = _("Running: {run}") if number < len(current) else _("Waiting: {run}")
            widget.addItem(text.format(run=title(task)))
        widget.setCurrentRow(self._shown.index(chosen) if chosen in self._shown else -1)
        widget.blockSignals(False)
        rows = min(len(self._shown), 5)
        widget.setFixedHeight(rows * (widget.sizeHintForRow(0) if rows else 0) + 2 * widget.frameWidth + 2)
        self._ui.queueFrame.visible = len(self._shown) > 1
        self._enable()

    def _chosen(self) -> RegistrationTask | None:
        row = self._ui.queueList.currentRow
        return self._shown[row] if 0 <= row < len(self._shown) else None

    def _enable(self) -> None:
        self._ui.removeRunButton.enabled = self._chosen() is not None

    def _on_remove(self) -> None:
        task = self._chosen()
        if task is not None:
            self._runner.remove(task)


def title(task: RegistrationTask) -> str:
    """Return engine and volumes, as shown in the queue and the log."""
    fixed, moving = task.inputs.fixed, task.inputs.moving
    if fixed is None or moving is None:
        return task.request.name
    return _("{engine}, {moving} to {fixed}").format(
        engine=task.request.name, moving=moving.GetName(), fixed=fixed.GetName()
    )
