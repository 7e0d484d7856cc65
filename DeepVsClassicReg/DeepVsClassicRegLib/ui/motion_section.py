"""Motion over time: corrects a sequence of volumes in the worker and adds sequences that the browser plays."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core.device import Compute, available_cores
from ..core.job import FRAMES, MOTION, OUTPUT_FOLDER, WORKERS, Job
from ..core.motion.settings import FIRST, LINEAR, MEAN, NEIGHBOR, POSITION, TRANSFORMS
from ..core.settings import jsonable
from ..mrml.inputs import Inputs
from ..mrml.nodes import in_scene, save_for_undo
from ..mrml.sequences import load_corrected, problem_of_sequence, publish_motion, sequence_of, sequences, series_steps
from ..worker.session import CANCELLED, FINISHED, JobOutcome
from .process import WorkerProcess
from .runner import Runner
from .task_button import TaskButton
from .tasks import MakeProcess, WorkerTask

CURRENT = "current"
REFERENCES = {FIRST: _("To the first frame"), CURRENT: _("To the current frame"), MEAN: _("To the mean of all frames")}
STARTS = {
    POSITION: _("Start: frames as they are"),
    LINEAR: _("Start: linear alignment"),
    NEIGHBOR: _("Start: motion of the neighbor"),
}


class MotionTask(WorkerTask):
    """Corrects the motion of a sequence; a canceled run publishes the transforms of the finished frames.

    Parameters
    ----------
    sequence : vtkMRMLSequenceNode
        Volumes in the order of time.
    compute : Compute
        Device, threads and seed.
    options : mapping
        Fields of `MotionSettings`.
    settings : mapping
        Settings of the engine changed from its preset.
    workers : int
        Frames at a time.
    make_process : callable
        As for `WorkerTask`.

    Attributes
    ----------
    nodes : mapping of str to node
        The results, see `publish_motion`.
    """

    def __init__(
        self,
        sequence: Any,
        compute: Compute,
        options: Mapping[str, Any],
        *,
        settings: Mapping[str, Any] | None = None,
        workers: int = 1,
        make_process: MakeProcess = WorkerProcess,
    ) -> None:
        super().__init__(Inputs(), compute, make_process=make_process)
        self.sequence, self.options = sequence, dict(options)
        self.settings, self.workers = dict(settings or {}), workers
        self.nodes: Mapping[str, Any] = {}

    def copies(self) -> Generator[str, None, Any]:
        """Return the steps that copy the frames."""
        return series_steps(self.sequence)

    def job(self, files: Mapping[str, str], label_names: Mapping[str, str]) -> Job:
        """Return the job of this correction."""
        options = {FRAMES: list(files.values()), MOTION: jsonable(self.options), WORKERS: self.workers}
        return Job(
            task=MOTION,
            inputs={},
            settings=self.settings,
            compute=self.compute,
            outputs={},
            options=options,
            ephemeral=False,  # the finished frames of a canceled run are still read
        )

    def take(self, outcome: JobOutcome) -> None:
        """Read the results in a thread, then add them to the scene."""
        self._publish_frames()

    def end(self, state: str, message: str = "", hint: str = "") -> None:
        """End in a state; the message of a canceled run says how many frames were finished."""
        if state == CANCELLED and self.nodes:
            kept = _("The transforms of {count} finished frames are kept.")
            message = f"{message} {kept.format(count=self.nodes['transforms'].GetNumberOfDataNodes())}".strip()
        super().end(state, message, hint)

    def _on_process_ended(self, outcome: JobOutcome) -> None:
        finished = self.need_folder / OUTPUT_FOLDER / TRANSFORMS
        if outcome.state == CANCELLED and finished.is_dir() and in_scene(self.sequence):
            self._publish_frames(CANCELLED, self.message)
        else:
            super()._on_process_ended(outcome)

    def _publish_frames(self, state: str = FINISHED, message: str = "") -> None:
        out = self.need_folder / OUTPUT_FOLDER
        self.end_with(lambda: load_corrected(out), self._publish, state=state, message=message)

    def _publish(self, found: Any) -> None:
        save_for_undo()
        self.nodes = publish_motion(found, self.sequence)


class MotionSection:
    """The section that corrects the motion of a sequence.

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
    """

    def __init__(
        self,
        ui: Any,
        runner: Runner,
        compute: Callable[[], Compute],
        engine: Callable[[], tuple[str, str, Mapping[str, Any]]],
    ) -> None:
        self._ui, self._runner, self._compute, self._engine = ui, runner, compute, engine
        for combo, entries in ((ui.motionReferenceCombo, REFERENCES), (ui.motionStartCombo, STARTS)):
            for name, title in entries.items():
                combo.addItem(title, name)
        ui.motionWorkersSpin.maximum = max(1, available_cores())
        self._button = TaskButton(
            ui.motionNowButton,
            ui.motionMessageLabel,
            runner,
            make=self._task,
            finished=self._finished,
            texts=(
                (
                    _("Correct motion"),
                    _("Registers all frames in the background, with the engine above (Recommended: instance)."),
                ),
                (_("Cancel"), _("Stops; the transforms of the finished frames are kept.")),
            ),
        )
        ui.motionCombo.connect("currentIndexChanged(int)", lambda _index: self._enable())

    @property
    def busy(self) -> bool:
        """Whether a sequence is being corrected."""
        return self._button.busy

    def refresh(self) -> None:
        """List the sequences of the scene."""
        found = {node.GetID(): node.GetName() for node in sequences()}
        combo = self._ui.motionCombo
        listed = {combo.itemData(index): combo.itemText(index) for index in range(combo.count)}
        if listed != found:
            chosen = combo.currentData
            combo.clear()
            for identity, name in found.items():
                combo.addItem(name, identity)
            combo.currentIndex = max(0, combo.findData(chosen))
        self._enable()

    def pick(self, node: Any) -> None:
        """Select a sequence, or that of a proxy node."""
        sequence = sequence_of(node)
        if sequence is None or problem_of_sequence(sequence):
            raise ValueError(_("It is not a frame of a sequence of volumes."))
        self.refresh()
        self._ui.motionCombo.currentIndex = self._ui.motionCombo.findData(sequence.GetID())

    def options(self) -> dict[str, Any]:
        """Return the chosen fields of `MotionSettings`."""
        ui = self._ui
        engine, preset, _settings = self._engine()
        return {
            "engine": f"{engine}:{preset}" if preset != "default" else engine,
            "reference": self._reference(),
            "start": ui.motionStartCombo.currentData,
            "smooth_frames": ui.motionSmoothSpin.value,
            "cyclic": ui.motionCyclicCheck.checked,
        }

    def close(self) -> None:
        """Forget the task; its worker is killed by the runner."""
        self._button.close()

    def _sequence(self) -> Any:
        identity = self._ui.motionCombo.currentData
        return slicer.mrmlScene.GetNodeByID(identity) if identity else None

    def _reference(self) -> str:
        chosen = self._ui.motionReferenceCombo.currentData
        if chosen != CURRENT:
            return str(chosen)
        browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(self._sequence())
        return "0" if browser is None else str(browser.GetSelectedItemNumber())

    def _enable(self) -> None:
        self._button.allow("" if self._sequence() is not None else _("The scene has no sequence of volumes."))

    def _task(self) -> MotionTask:
        return MotionTask(
            self._sequence(),
            self._compute(),
            self.options(),
            settings=self._engine()[2],
            workers=self._ui.motionWorkersSpin.value,
            make_process=self._runner.make_process,
        )

    def _finished(self, task: MotionTask) -> str:
        name = task.nodes["volumes"].GetName()
        return str(_("Corrected: '{name}' plays in the sequence browser with the original.").format(name=name))
