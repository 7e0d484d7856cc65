"""The button that segments the selected volumes with a network in the worker."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core.device import Compute
from ..core.engines.base import needs, remedy
from ..core.engines.segmentation import missing, segmentation_model
from ..core.errors import RegistrationError
from ..mrml.inputs import Inputs
from ..worker.session import CANCELLED, FINISHED
from .runner import Runner
from .tasks import SegmentationTask

Say = Callable[[str, str, str], None]


class SegmentationButton:
    """Makes segmentations of the selected volumes that have none, and selects them as inputs.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    runner : Runner
        Runs the task in the worker.
    compute : callable
        Returns device and threads.
    say : callable
        `say(kind, message, hint)` shows a message.
    pick : callable
        Selects inputs.
    """

    def __init__(
        self, ui: Any, runner: Runner, compute: Callable[[], Compute], say: Say, pick: Callable[[Inputs], None]
    ) -> None:
        self._ui, self._runner, self._compute, self._say, self._pick = ui, runner, compute, say, pick
        self._inputs = Inputs()
        self._task: SegmentationTask | None = None
        ui.segmentButton.connect("clicked()", self._on_clicked)

    @property
    def busy(self) -> bool:
        """Whether a segmentation is running."""
        return self._task is not None

    def follow(self, inputs: Inputs, *, valid: bool) -> None:
        """Update for the selected nodes."""
        self._inputs = inputs
        button, reason = self._ui.segmentButton, self._problem(valid)
        button.enabled = not reason
        button.text = _("Cancel segmentation") if self.busy else _("Make segmentations")
        button.toolTip = reason or _(
            "Estimates brain structures of the selected volumes with a network, in the background. The segments are "
            "marked as estimated everywhere: check them before you rely on them."
        )

    def close(self) -> None:
        """Forget the task; its worker is killed by the runner."""
        self._task = None

    def _problem(self, valid: bool) -> str:
        if self.busy:
            return ""
        lacking = missing()
        if lacking:
            return str(_("Needs {what}. {remedy}").format(what=needs(lacking), remedy=remedy(lacking)))
        try:
            segmentation_model()
        except RegistrationError as error:
            return error.message
        if not valid or self._inputs.fixed is None or self._inputs.moving is None:
            return str(_("Select a fixed and a moving volume first."))
        return "" if self._sides() else str(_("Both volumes have a segmentation."))

    def _sides(self) -> list[str]:
        return [side for side in ("fixed", "moving") if getattr(self._inputs, f"{side}_labels") is None]

    def _on_clicked(self) -> None:
        if self._task is not None:
            self._task.cancel()
            return
        volumes = Inputs(fixed=self._inputs.fixed, moving=self._inputs.moving)
        self._task = task = SegmentationTask(
            volumes, self._compute(), self._sides(), make_process=self._runner.make_process
        )
        task.changed.connect(self._on_progress)
        task.ended.connect(self._on_ended)
        self._runner.start_beside(task)
        self.follow(self._inputs, valid=True)

    def _on_progress(self, task: SegmentationTask) -> None:
        if not task.is_over:
            self._say("progress", _("Segmenting: {percent} %").format(percent=round(100 * task.fraction)), "")

    def _on_ended(self, task: SegmentationTask) -> None:
        if task is not self._task:
            return
        self._task = None
        if task.state == FINISHED:
            self._say("progress", "", "")
            made = {role: node for role, node in task.nodes.items() if slicer.mrmlScene.IsNodePresent(node)}
            self._pick(dataclasses.replace(self._inputs, **made))
        else:
            self._say("warning" if task.state == CANCELLED else "error", task.message, task.hint)
            self.follow(self._inputs, valid=True)
