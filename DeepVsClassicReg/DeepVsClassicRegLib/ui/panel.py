"""The panel: combines the sections, keeps them synchronized with the scene, and starts runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..core.errors import RegistrationError
from ..core.motion.settings import MotionSettings
from ..core.settings import DEFAULT
from ..mrml.inputs import VOLUMES, Inputs
from ..mrml.outputs import Targets
from ..mrml.runs import Run
from ..mrml.sample_data import add_phantom, generate_phantom
from ..mrml.sequences import sequences
from ..worker.session import CANCELLED, FINISHED
from .advice_section import AdviceSection
from .apply_section import ApplySection
from .dependencies import ensure
from .engine_section import EngineSection
from .inputs_section import InputsSection
from .models_page import ModelsPage
from .motion_section import MotionSection
from .on_demand import OnDemand
from .outputs_section import MachineSection, OutputsSection
from .preferences import SceneParameters
from .qa_section import QaSection
from .repair_section import RepairSection
from .results_section import ResultsSection
from .rich_text import InputCheck
from .run_section import PROGRESS, RunSection
from .runner import Runner
from .scheduling import BackgroundCall, IdleCalls
from .segmentation_button import SegmentationButton
from .shortcuts import Shortcuts, name_key
from .stack_section import StackSection
from .tasks import RegistrationRequest, RegistrationTask, SharedStart
from .volume_drops import VolumeDrops

VALIDATE_MS = 50
PHANTOM_ROLES = ("fixed", "moving", "fixed_labels", "moving_labels", "fixed_points", "moving_points")
DONE = ("inputsButton", "adviceButton", "methodButton", "outputsButton", "progressButton", "machineButton")
MARGIN = 4
KEYS = {"blendButton": "O", "flickerButton": "K"}  # keys named in tool tips


class Panel(VTKObservationMixin):
    """The user interface of the module.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    runner : Runner
        Runs the registrations; shared with the console.
    resources : Path
        The module's Resources folder.

    Attributes
    ----------
    parameter_node : vtkMRMLScriptedModuleNode or None
        What the panel shows and remembers.
    """

    def __init__(self, ui: Any, runner: Runner, resources: Path) -> None:
        VTKObservationMixin.__init__(self)
        self.ui, self.runner = ui, runner
        self._requirements = resources / "requirements.txt"
        self.parameter_node: Any = None
        self._failures: list[RegistrationTask] = []
        self._finished: list[Run] = []
        self._published: list[Run] = []  # before all their measures were known
        self._idle_calls = IdleCalls()
        self._sample: BackgroundCall | None = None
        self._validator = qt.QTimer()
        self._validator.setSingleShot(True)
        self._validator.interval = VALIDATE_MS
        self._validator.connect("timeout()", self.validate)
        self.inputs = InputsSection(ui, self._on_inputs)
        self.engines = EngineSection(ui, self.check_soon)
        self.outputs = OutputsSection(ui, self.check_soon)
        self.machine = MachineSection(ui)
        self.models = ModelsPage(
            resources / "UI" / "Models.ui",
            self.engines.refresh_models,
            runner,
            self.machine.compute,
            self._requirements,
        )
        self.run = RunSection(ui, runner, self.start)
        self.segmentation = SegmentationButton(
            ui, runner, self.machine.compute, self.run.show_message, self.inputs.pick
        )
        self.qa = QaSection(ui)
        self.shortcuts = Shortcuts(
            {
                "O": lambda: self.qa.show("blend"),
                "K": lambda: self.qa.show("flicker"),
                "M": self.qa.show_next_view,
                "N": lambda: self.qa.go_to_next(1),
                "P": lambda: self.qa.go_to_next(-1),
            }
        )
        self.apply = ApplySection(ui)
        self.repair = RepairSection(ui, runner, self.machine.compute, self.qa, lambda run: self.results.choose(run))
        self.motion = OnDemand(
            ui.motionButton,
            lambda: MotionSection(ui, runner, self.machine.compute, self._engine_of_series),
            ("vtkMRMLSequenceNode",),
            lambda: bool(sequences()),
        )
        self.stack = OnDemand(
            ui.stackButton,
            lambda: StackSection(ui, runner, self.machine.compute, self._engine_of_series, self.qa.close),
            VOLUMES,
        )
        self.results = ResultsSection(ui, self._on_shown, self.qa.go_to, lambda: self.qa.caption)
        self.results.measured_now = runner.measures
        self.results.plotting.connect(self.qa.before_other_views)
        self.advice = AdviceSection(ui, runner, self.machine.compute, self.engines.choose)
        self.advice.changed.connect(lambda section: self.engines.set_advice(section.advice))
        self.advice.plotting.connect(self.qa.before_other_views)
        self.advice.progressed.connect(self.run.held_progress)
        self.advice.ended.connect(self._on_advice)
        self.drops = VolumeDrops(ui, self.inputs)
        for name, keys in KEYS.items():
            name_key(getattr(ui, name), keys)
        ui.sampleButton.connect("clicked()", self._on_sample)
        ui.installButton.connect("clicked()", self._on_install)
        ui.modelsButton.connect("clicked()", self.models.show)
        runner.started.connect(self._on_started)
        runner.published.connect(self._on_published)
        runner.finished.connect(self._on_finished)
        runner.idle.connect(self._on_idle)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.NodeAddedEvent, self._on_scene)
        self.addObserver(scene, scene.NodeRemovedEvent, self._on_scene)
        self.addObserver(scene, scene.EndBatchProcessEvent, self._on_scene)
        self.addObserver(scene, scene.StartCloseEvent, self._on_scene_closing)
        self.addObserver(scene, scene.StartImportEvent, self._on_importing)

    def set_parameter_node(self, node: Any) -> None:
        """Show the settings stored in a parameter node; None when there is no scene to show."""
        self.parameter_node = node
        self._idle_calls.clear()
        state = SceneParameters(node) if node is not None else None
        for section in (self.inputs, self.engines, self.advice, self.outputs, self.machine):
            section.load(state)
        self.results.load(node)
        if node is not None:
            self.inputs.pick_the_only_pair()
        self._observe_inputs()
        self.validate()

    def start(self) -> None:
        """Install missing packages and queue the chosen runs; a recommendation, if chosen, is requested first."""
        if self.engines.waits_for_advice:
            self.run.hold(_("Analyzing the pair first"), self.advice.stop)
            self.advice.ask()
            if not self.advice.asking:  # the query could not start
                self._on_advice(self.advice)
            return
        self.advice.stop()  # a registration needs the processor
        chosen = self.engines.chosen()
        try:
            for entry, _preset, _settings in chosen:
                ensure(entry, self._requirements)
        except RegistrationError as error:
            self.run.show_message("error", error.message, error.hint)
            return
        finally:
            if any(not entry.ready for entry, _preset, _settings in chosen):
                self.engines.refresh()
        targets = self.outputs.targets()
        if len(chosen) > 1:
            targets = Targets(wanted=targets.wanted)  # compared runs must not overwrite each other
        shared = SharedStart() if len(chosen) > 1 else None
        self.runner.submit(
            RegistrationRequest(
                inputs=self.inputs.inputs(),
                engine=entry.info.name,
                preset=preset,
                settings=settings,
                compute=self.machine.compute(),
                targets=targets,
                parameter_node=lambda: self.parameter_node,
                keep_files=self.machine.keep_files,
                shared_start=shared,
                in_steps=True,
            )
            for entry, preset, settings in chosen
        )

    def show_motion(self, node: Any) -> None:
        """Expand the section that corrects motion, with a sequence or that of a proxy node."""
        self.motion.content.pick(node)
        self.ui.motionButton.collapsed = False
        area = _scroll_area(self.ui.motionButton)
        if area is not None:
            slicer.app.processEvents(qt.QEventLoop.ExcludeUserInputEvents)  # lays out what was expanded
            area.ensureWidgetVisible(self.ui.motionButton)

    def validate(self) -> None:
        """Show problems of the inputs and whether the run can start."""
        inputs = self.inputs.inputs()
        verdict = InputCheck(inputs)
        self.advice.follow(inputs, valid=verdict.ok, titles=self.engines.titles)
        self.segmentation.follow(inputs, valid=verdict.ok)
        self.ui.problemsLabel.text = verdict.html
        self.ui.problemsLabel.visible = bool(verdict.found)
        reason = verdict.tooltip or self.engines.problem() or self.outputs.problem(inputs)
        self.run.allow(reason, queueable=not self.engines.waits_for_advice)
        self.results.follow_nodes()
        self.qa.follow_nodes()
        self.apply.refresh()
        self.motion.refresh()
        self.stack.refresh()
        self.ui.sampleButton.visible = not slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")

    @property
    def busy(self) -> bool:
        """Whether something is running, waiting, or not shown yet."""
        sections = (self.runner, self.qa, self.apply, self.segmentation, self.motion, self.stack)
        return any(section.busy for section in sections) or self.run.held or self._idle_calls.pending

    @property
    def checking(self) -> bool:
        """Whether the inputs are still to be checked."""
        return bool(self._validator.active)

    def check_soon(self) -> None:
        """Check the inputs once the user has stopped changing them."""
        self._validator.start()

    def close(self) -> None:
        """Release all resources: the module is reloaded or Slicer exits."""
        self.removeObservers()
        self._validator.stop()
        self._idle_calls.clear()
        if self._sample is not None:
            self._sample.abandon(lambda: None)
        self.drops.close()
        self.shortcuts.remove()
        self.models.close()
        self.segmentation.close()
        self.motion.close()
        self.stack.close()
        self.advice.close()
        self.repair.close()
        self.qa.close()
        self.apply.close()
        self.run.close()
        self.runner.shut_down()

    def _engine_of_series(self) -> tuple[str, str, dict[str, Any]]:
        """Return engine, preset and settings for frames and sections: the chosen ones, with the advice the default."""
        chosen = self.engines.chosen()
        if not chosen:
            return MotionSettings().engine, DEFAULT, {}
        entry, preset, settings = chosen[0]
        ensure(entry, self._requirements)
        return entry.info.name, preset, settings

    def _on_advice(self, advice: AdviceSection) -> None:
        """Start the run that was waiting for the advice, or show why it cannot start."""
        if not self.run.held:
            return
        self.run.let_go()
        if advice.advice is not None:
            self.start()
        elif advice.message:
            self.run.show_message("error", advice.message, advice.hint or _("Select an engine yourself."))
        else:
            self.run.show_message("warning", _("Canceled."))

    def _on_inputs(self) -> None:
        self._observe_inputs()
        self.check_soon()

    def _observe_inputs(self) -> None:
        """Observe changes of the selected nodes that affect validity: image, transform, name, segments."""
        self.removeObservers(self._on_input_changed)
        # One node may be selected twice, such as a segmentation with both segments to register.
        for node in {node.GetID(): node for _role, node in self.inputs.inputs().given()}.values():
            events = [node.TransformModifiedEvent, "ModifiedEvent"]
            if node.IsA("vtkMRMLMarkupsNode"):
                events += [node.PointAddedEvent, node.PointRemovedEvent]
            for event in events:
                self.addObserver(node, event, self._on_input_changed)
            if node.IsA("vtkMRMLSegmentationNode"):
                for event in (slicer.vtkSegmentation.SegmentAdded, slicer.vtkSegmentation.SegmentRemoved):
                    self.addObserver(node.GetSegmentation(), event, self._on_input_changed)

    def _on_input_changed(self, _caller: Any, _event: str) -> None:
        self.inputs.refresh_segments()
        self.check_soon()

    def _on_scene(self, _caller: Any, _event: str) -> None:
        if not slicer.mrmlScene.IsBatchProcessing() and not slicer.mrmlScene.IsClosing():
            self.check_soon()

    def _on_scene_closing(self, _caller: Any, _event: str) -> None:
        if self._sample is not None:  # an example that arrives later would fill the new scene
            self._sample.abandon(lambda: None)
            self._end_sample()
        self.repair.close()
        self.qa.close()
        self.apply.close()
        self.runner.close_scene()

    def _on_importing(self, _caller: Any, _event: str) -> None:
        """End the comparison of views: a loaded scene has its own views."""
        self.qa.close(places=False)

    def _on_sample(self) -> None:
        self.ui.sampleButton.enabled = False
        self.run.show_message(PROGRESS, _("Making the example pair"))
        self._sample = BackgroundCall(generate_phantom, self._on_sample_made).start()

    def _end_sample(self) -> None:
        self._sample = None
        self.ui.sampleButton.enabled = True
        self.run.show_message(PROGRESS, "")

    def _on_sample_made(self, phantom: Any, error: BaseException | None) -> None:
        self._end_sample()
        if error is not None:
            self.run.show_message("error", str(error))
            return
        made = add_phantom(phantom)
        self.inputs.pick(Inputs(**{role: getattr(made, role) for role in PHANTOM_ROLES}))
        if slicer.app.layoutManager() is not None:
            slicer.util.setSliceViewerLayers(background=made.fixed, foreground=None, label=None, fit=True)

    def _on_install(self) -> None:
        entry = self.engines.availability
        if entry is None:
            return
        try:
            ensure(entry, self._requirements)
        except RegistrationError as error:
            self.run.show_message("error", error.message, error.hint)
        self.engines.refresh()
        self.check_soon()

    def _on_started(self, _task: RegistrationTask) -> None:
        if self.runner.done == 0:
            self._failures, self._finished, self._published = [], [], []

    def _on_published(self, task: RegistrationTask) -> None:
        """Show a run whose slow measures follow."""
        if self.parameter_node is None:
            return
        self._published.append(task.run)
        self._show_run(task.run)
        if not self.runner.waiting:
            self._idle_calls.run(self._show_best, self._close_done, self._scroll_to_result)

    def _on_finished(self, task: RegistrationTask) -> None:
        if task.state != FINISHED:
            self._failures.append(task)
        if task.run is not None and self.parameter_node is not None:
            if task.run in self._published:
                self.results.update(task.run)
            else:
                self._show_run(task.run)

    def _show_run(self, run: Run) -> None:
        self._finished.append(run)
        self._idle_calls.run(self._observe_inputs, self._load_results, self._look)

    def _load_results(self) -> None:
        self.results.load(self.parameter_node)

    def _show_best(self) -> None:
        if len(self._finished) > 1:
            self.results.choose_best(self._finished)
        self._finished = []

    def _close_done(self) -> None:
        close_done(self.ui)

    def _scroll_to_result(self) -> None:
        scroll_to_result(self.ui)

    def _look(self) -> None:
        if not self.qa.view and self.qa.can_show("blend"):
            self.qa.show("blend")

    def _on_idle(self) -> None:
        self.check_soon()
        if self._finished:
            self._idle_calls.run(self._show_best, self._close_done, self._scroll_to_result)
        for task in self._failures[:1]:
            kind = "warning" if task.state == CANCELLED else "error"
            count = len(self._failures)
            more = "" if count == 1 else " " + _("({count} runs in all)").format(count=count)
            self.run.show_message(kind, task.message + more, task.hint)

    def _on_shown(self, run: Run | None) -> None:
        self.qa.set_run(run)
        self.shortcuts.enable(run is not None)
        self.apply.show(run, self.parameter_node)
        self.repair.show(run, self.parameter_node)


def close_done(ui: Any) -> None:
    """Collapse all sections above the result, so that verdict and view buttons fit below the Register button."""
    for name in DONE:
        getattr(ui, name).collapsed = True
    ui.resultButton.collapsed = False


def scroll_to_result(ui: Any) -> None:
    """Scroll until the verdict and the view buttons are visible, and the Register button if it fits."""
    area = _scroll_area(ui.resultButton)
    if area is None:
        return
    content = area.widget()
    top, bottom = (
        ui.registerButton.mapTo(content, qt.QPoint(0, 0)).y(),
        ui.foldButton.mapTo(content, qt.QPoint(0, ui.foldButton.height)).y(),
    )
    if bottom - top + 2 * MARGIN > area.viewport().height:
        top = ui.resultButton.mapTo(content, qt.QPoint(0, 0)).y()
    bar = area.verticalScrollBar()
    if bottom + MARGIN > area.viewport().height or bar.value > top:
        bar.value = top - MARGIN
    else:
        bar.value = 0


def _scroll_area(widget: Any) -> Any:
    """Return the scroll area around a widget; None when there is none, as without a main window."""
    while widget is not None and not widget.inherits("QScrollArea"):
        widget = widget.parent()
    return widget
