"""Serial sections: aligns the slices of a volume in the worker and shows the aligned volume."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core.device import Compute
from ..core.job import AXIS, SECTIONS, STACK, Job
from ..core.settings import DEFAULT, Choice, jsonable
from ..mrml.channels import channel_choices
from ..mrml.inputs import Inputs
from ..mrml.nodes import save_for_undo
from ..mrml.stacks import load_stack, problem_of_stack, publish_stack, stack_steps
from ..worker.session import JobOutcome
from .process import WorkerProcess
from .runner import Runner
from .task_button import TaskButton
from .tasks import MakeProcess, WorkerTask

AXES = {"k": _("Slices along K (as stored)"), "j": _("Slices along J"), "i": _("Slices along I")}
LINEAR = {"rigid": _("Rigid"), "affine": _("Affine"), "none": _("No linear alignment")}
# Names of the core: the engine 'none' aligns linearly only.
LINEAR_ONLY, SMOOTH, CHOSEN = "none", "instance", "chosen"
DEFORM = {
    SMOOTH: _("Then smooth deformation"),
    LINEAR_ONLY: _("No deformation"),
    CHOSEN: _("Then the engine above"),
}
SECTIONS_PRESET = "sections"


class StackTask(WorkerTask):
    """Aligns the slices of a volume.

    Parameters
    ----------
    volume : vtkMRMLScalarVolumeNode or vtkMRMLVectorVolumeNode
        The sections.
    compute : Compute
        Device, threads and seed.
    options : mapping
        Fields of `core.stacks.align.StackSettings`.
    axis : str
        'i', 'j' or 'k': the axis across the sections.
    channel : str
        The channel that is registered; empty for gray values and the luminance.
    engine : Choice
        The engine that deforms the sections; 'none' aligns them linearly.
    settings : mapping
        Settings of the engine changed from its preset.
    make_process : callable
        As for `WorkerTask`.

    Attributes
    ----------
    nodes : mapping of str to node
        The results, see `publish_stack`.
    report : mapping
        The measures.
    """

    def __init__(
        self,
        volume: Any,
        compute: Compute,
        options: Mapping[str, Any],
        *,
        axis: str,
        channel: str,
        engine: Choice,
        settings: Mapping[str, Any],
        make_process: MakeProcess = WorkerProcess,
    ) -> None:
        super().__init__(Inputs(), compute, make_process=make_process)
        self.volume, self.options, self.axis, self.channel = volume, dict(options), axis, channel
        self.engine, self.settings = engine, dict(settings)
        self.nodes: Mapping[str, Any] = {}
        self.report: Mapping[str, Any] = {}

    def copies(self) -> Generator[str, None, Any]:
        """Return the steps that copy the sections."""
        return stack_steps(self.volume, self.axis, self.channel)

    def job(self, files: Mapping[str, str], label_names: Mapping[str, str]) -> Job:
        """Return the job of this alignment."""
        return Job(
            task=STACK,
            inputs={},
            engine=self.engine.engine,
            preset=self.engine.preset,
            settings=self.settings,
            compute=self.compute,
            outputs={},
            options={SECTIONS: files[SECTIONS], AXIS: self.axis, STACK: jsonable(self.options)},
            ephemeral=True,
        )

    def take(self, outcome: JobOutcome) -> None:
        """Read the results in a thread, then add them to the scene."""
        folder = self.need_folder
        self.end_with(lambda: load_stack(folder), self._publish)

    def _publish(self, found: Any) -> None:
        save_for_undo()
        self.nodes, self.report = publish_stack(found, self.volume), found.report


class StackSection:
    """The section that aligns serial sections.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    runner : Runner
        Runs the task in the worker.
    compute : callable
        Returns device, threads and seed.
    engine : callable
        Returns engine, preset and changed settings chosen in the panel.
    showing : callable
        Called before the aligned volume is shown in the slice views.
    """

    def __init__(
        self,
        ui: Any,
        runner: Runner,
        compute: Callable[[], Compute],
        engine: Callable[[], tuple[str, str, Mapping[str, Any]]],
        showing: Callable[[], None],
    ) -> None:
        self._ui, self._runner, self._compute, self._engine = ui, runner, compute, engine
        self._showing = showing
        for combo, entries in ((ui.stackAxisCombo, AXES), (ui.stackLinearCombo, LINEAR), (ui.stackDeformCombo, DEFORM)):
            for name, title in entries.items():
                combo.addItem(title, name)
            combo.connect("currentIndexChanged(int)", lambda _index: self.refresh())
        self._button = TaskButton(
            ui.stackNowButton,
            ui.stackMessageLabel,
            runner,
            make=self._task,
            finished=self._finished,
            texts=(
                (_("Align sections"), _("Aligns every section to its aligned neighbors, in the background.")),
                (_("Cancel"), _("Stops; nothing is added to the scene.")),
            ),
        )
        ui.stackSelector.connect("currentNodeChanged(vtkMRMLNode*)", lambda _node: self.refresh())
        ui.stackChannelCombo.connect("currentIndexChanged(int)", lambda _index: self._enable())

    @property
    def busy(self) -> bool:
        """Whether sections are being aligned."""
        return self._button.busy

    def refresh(self) -> None:
        """Offer what the selected volume has: its channels and sections."""
        volume, combo = self._ui.stackSelector.currentNode(), self._ui.stackChannelCombo
        wanted = channel_choices(volume)
        if [(combo.itemText(index), combo.itemData(index)) for index in range(combo.count)] != wanted:
            combo.clear()
            for text, channel in wanted:
                combo.addItem(text, channel)
        combo.visible = len(wanted) > 1
        image = None if volume is None else volume.GetImageData()
        if image is not None:
            self._ui.stackReferenceSpin.maximum = image.GetDimensions()["ijk".index(self._axis())] - 1
        self._enable()

    def pick(self, node: Any) -> None:
        """Select the volume whose slices are the sections."""
        self._ui.stackSelector.setCurrentNode(node)
        self.refresh()

    def options(self) -> dict[str, Any]:
        """Return the chosen fields of `StackSettings`."""
        ui = self._ui
        return {
            "reference": ui.stackReferenceSpin.value,
            "linear": ui.stackLinearCombo.currentData,
            "turn_deg": ui.stackTurnSpin.value,
            "drift": ui.stackDriftSpin.value,
        }

    def close(self) -> None:
        """Forget the task; its worker is killed by the runner."""
        self._button.close()

    def _axis(self) -> str:
        return str(self._ui.stackAxisCombo.currentData or "k")

    def _channel(self) -> str:
        return str(self._ui.stackChannelCombo.currentData or "")

    def _enable(self) -> None:
        ui = self._ui
        nothing = ui.stackLinearCombo.currentData == "none" and ui.stackDeformCombo.currentData == LINEAR_ONLY
        ui.stackTurnSpin.enabled = ui.stackLinearCombo.currentData != "none"
        self._button.allow(
            _("Choose a linear alignment, a deformation, or both.")
            if nothing
            else problem_of_stack(ui.stackSelector.currentNode(), self._axis(), self._channel())
        )

    def _task(self) -> StackTask:
        wanted = self._ui.stackDeformCombo.currentData
        engine = Choice(wanted, SECTIONS_PRESET if wanted == SMOOTH else DEFAULT)
        settings: Mapping[str, Any] = {}
        if wanted == CHOSEN:
            name, preset, settings = self._engine()
            engine = Choice(name, preset)
        return StackTask(
            self._ui.stackSelector.currentNode(),
            self._compute(),
            self.options(),
            axis=self._axis(),
            channel=self._channel(),
            engine=engine,
            settings=settings,
            make_process=self._runner.make_process,
        )

    def _finished(self, task: StackTask) -> str:
        if slicer.app.layoutManager() is not None:
            self._showing()
            slicer.util.setSliceViewerLayers(background=task.nodes["volume"], foreground=None, label=None, fit=True)
        similar, poor = task.report["similarity"], task.report["poor_sections"]
        said = _("'{name}': mean correlation of neighboring sections {before:.2f} before, {after:.2f} after.").format(
            name=task.nodes["volume"].GetName(), before=similar["before"]["mean"], after=similar["after"]["mean"]
        )
        if poor:
            said += " " + _("Check the sections {numbers}: they do not match their neighbors.").format(
                numbers=", ".join(map(str, poor))
            )
        return str(said)
