"""A training in the worker process: copies of the cases, live curves, and the way into the models."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from ..core.device import Compute
from ..core.errors import RegistrationError, did_you_mean
from ..core.job import TRAIN, Job
from ..core.networks.model_store import get_model
from ..core.train import TUNING, usual_options
from ..core.training.config import CONFIG_FILE
from ..core.training.curves import TRAINING_FILE, VALIDATION_FILE, read_curve
from ..core.training.folders import CASES_FOLDER, check_name, find_trainings, free_name, install, user_trainings_folder
from ..mrml.cases import DATASET, SceneCase, case_steps, nothing_to_copy
from ..mrml.inputs import Inputs
from ..worker.session import CANCELLED, FINISHED, JobOutcome
from .process import WorkerProcess
from .scheduling import BackgroundCall
from .tasks import MakeProcess, WorkerTask

CURVES_MS = 2000


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingRequest:
    """A training to start or to resume.

    Attributes
    ----------
    name : str
        Name of the model.
    folder : Path
        The training folder.
    options : mapping
        Entries of `core.training.options.TrainingOptions`; empty to resume the training in the folder. With `cases`
        the entry 'data' is added.
    cases : sequence of SceneCase
        Cases of the scene; empty when the options name the data.
    model : str
        Model to start from; empty for random weights.
    hours : float
        New limit of a resumed training; 0 keeps the former one.
    compute : Compute
        Device, threads and seed.
    """

    name: str
    folder: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    cases: Sequence[SceneCase] = ()
    model: str = ""
    hours: float = 0.0
    compute: Compute = field(default_factory=Compute)

    @property
    def resumes(self) -> bool:
        """Whether it continues an earlier training."""
        return not self.options


def new_training(
    volumes: Sequence[Any],
    segmentations: Sequence[Any],
    *,
    data: str,
    name: str,
    model: str,
    method: str,
    supervision: str,
    hours: float,
    options: Mapping[str, Any],
    compute: Compute,
) -> TrainingRequest:
    """Return the request for a training with the usual choices where none is given; see `logic.train`.

    Raises
    ------
    RegistrationError
        When there are both nodes and data or none of them, their numbers differ, or the name is not free.
    """
    if bool(volumes) == bool(data):
        raise RegistrationError(
            _("Give the cases either as volume nodes or as data."), hint=_("See help(logic.train).")
        )
    if segmentations and len(segmentations) != len(volumes):
        raise RegistrationError(
            _("There are {labels} segmentations for {count} volumes.").format(
                labels=len(segmentations), count=len(volumes)
            ),
            hint=_("Give one for each volume, in the same order."),
        )
    supervision = supervision or ("labels" if segmentations else "none")
    chosen = usual_options(supervision)
    if model:
        for key in ("method", "settings", "size"):
            del chosen[key]
        chosen["train"] |= TUNING
    elif method and method != chosen["method"]:
        chosen |= {"method": method, "settings": {}}
    name = check_name(name) if name else free_name(f"my-{model or chosen['method']}")
    merged = {**chosen, **({"data": data} if data else {}), **options}
    merged["train"] = {**merged["train"], "hours": hours, "seed": compute.seed}
    merged["texts"] = {"title": name, **merged.get("texts", {}), "name": name}
    drawings = segmentations or [None] * len(volumes)
    return TrainingRequest(
        name=name,
        folder=user_trainings_folder() / name,
        options=merged,
        cases=tuple(SceneCase(volume, drawing) for volume, drawing in zip(volumes, drawings, strict=True)),
        model=str(get_model(model).folder) if model else "",
        compute=compute,
    )


def resumed_training(name: str, *, hours: float, compute: Compute) -> TrainingRequest:
    """Return the request to continue a training of the user; `RegistrationError` when there is none."""
    found = {entry.name: entry for entry in find_trainings()}
    if name not in found:
        raise RegistrationError(_("There is no training '{name}'.").format(name=name), hint=did_you_mean(name, found))
    return TrainingRequest(name=name, folder=found[name].folder, hours=hours, compute=compute)


@dataclass(frozen=True)
class Curves:
    """The curves of a training folder.

    Attributes
    ----------
    objective, dice : list of (step, value)
        Sum of the terms of the objective at training steps; Dice of the validation pairs, empty without labels.
    hours : float
        Training time of the last row.
    """

    objective: list[tuple[int, float]] = field(default_factory=list)
    dice: list[tuple[int, float]] = field(default_factory=list)
    hours: float = 0.0


def read_curves(folder: Path) -> Curves:
    """Return the curves of a training folder; may be called in a thread."""
    rows, checks = read_curve(folder / TRAINING_FILE), read_curve(folder / VALIDATION_FILE)
    return Curves(
        [(int(float(row["step"])), float(row["loss"])) for row in rows if row.get("loss")],
        [(int(float(row["step"])), float(row["dice"])) for row in checks if row.get("dice")],
        float(rows[-1]["hours"]) if rows else 0.0,
    )


class TrainingTask(WorkerTask):
    """One training, from the cases to the model in the user's folder.

    Parameters
    ----------
    request : TrainingRequest
        What to train.
    make_process : callable
        As for `WorkerTask`.

    Attributes
    ----------
    model : str
        Name of the installed model once it has finished.
    curves : Curves
        The latest curves; `changed` is emitted for new ones.
    """

    def __init__(self, request: TrainingRequest, *, make_process: MakeProcess = WorkerProcess) -> None:
        super().__init__(Inputs(), request.compute, make_process=make_process)
        self.request = request
        self.model = ""
        self.curves = Curves()
        self.share = 0.0
        self._installs = False
        self._existed = (request.folder / CONFIG_FILE).is_file()
        self._reading: BackgroundCall | None = None
        self._reader = qt.QTimer()
        self._reader.interval = CURVES_MS
        self._reader.connect("timeout()", self.read_curves)

    def start(self) -> None:
        """Begin copying the cases."""
        self._reader.start()
        self.read_curves()
        super().start()

    def copies(self) -> Generator[str, None, Any]:
        """Return the steps that copy the cases of the scene."""
        request = self.request
        if not request.cases:
            return nothing_to_copy()
        labels = request.options.get("supervision") == "labels"
        return case_steps(request.cases, request.folder / CASES_FOLDER, with_labels=labels)

    def job(self, files: Mapping[str, str], label_names: Mapping[str, str]) -> Job:
        """Return the job of this training."""
        request = self.request
        options: dict[str, Any] = {"folder": str(request.folder), "command": _("the panel of Slicer")}
        if request.resumes:
            options["hours"] = request.hours
        else:
            data = {"data": str(request.folder / CASES_FOLDER / DATASET)} if request.cases else {}
            options |= {"training": {**request.options, **data}, "model": request.model}
        return Job(task=TRAIN, inputs={}, compute=request.compute, outputs={}, options=options, ephemeral=True)

    def take(self, outcome: JobOutcome) -> None:
        """Keep the name of the installed model."""
        self.model = str(outcome.result["model"])
        self.end(FINISHED)

    def finish_now(self) -> None:
        """Stop, and install the best weights so far."""
        self._installs = True
        self.cancel(_("Stopped."))

    def hours_left(self) -> float | None:
        """Return the remaining hours, estimated from the steps so far; None while unknown."""
        if not 0 < self.share < 1 or self.curves.hours <= 0:
            return None
        return self.curves.hours * (1 - self.share) / self.share

    def read_curves(self) -> None:
        """Read the curves in a thread, unless that is being done."""
        if self._reading is None:
            folder = self.request.folder
            self._reading = BackgroundCall(lambda: read_curves(folder), self._on_curves).start()

    def shut_down(self) -> None:
        """Let the worker write a checkpoint and end by itself: the panel or Slicer is closing."""
        for signal in (self.changed, self.logged, self.ended):
            signal.disconnect()
        self._stop_reading()
        if self.process is not None:
            self.process.leave()
            self.keep_files = True  # the worker removes the job folder when it ends
        if not self.is_over:
            super().end(CANCELLED, _("Canceled."))

    def end(self, state: str, message: str = "", hint: str = "") -> None:
        """End in a state; a new training without a configuration leaves no folder behind."""
        if self.is_over:
            return
        self._stop_reading()
        folder = self.request.folder
        if not self._existed and folder.is_dir() and not (folder / CONFIG_FILE).is_file():
            shutil.rmtree(folder, ignore_errors=True)
        super().end(state, message, hint)

    def _on_event(self, event: Any) -> None:
        if event.kind == "progress":
            self.share = float(event.data.get("fraction", 0.0))
        super()._on_event(event)

    def _on_process_ended(self, outcome: JobOutcome) -> None:
        if outcome.state == CANCELLED and self._installs:
            folder = self.request.folder
            self.end_with(lambda: install(folder).card.name, self._on_installed, stage=_("Adding the model"))
            return
        if outcome.state == CANCELLED:
            self.message = _("Paused; Resume continues from the checkpoint.")
        super()._on_process_ended(outcome)

    def _on_installed(self, name: str) -> None:
        self.model = name

    def _on_curves(self, curves: Any, error: BaseException | None) -> None:
        self._reading = None
        if error is None and curves != self.curves:  # a file that is just being replaced is read again
            self.curves = curves
            self.changed.emit(self)

    def _stop_reading(self) -> None:
        self._reader.stop()
        if self._reading is not None:
            self._reading.abandon(lambda: None)
            self._reading = None
