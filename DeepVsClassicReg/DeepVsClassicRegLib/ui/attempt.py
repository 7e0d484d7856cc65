"""One registration from the picked nodes to the published result, step by step, never blocking the panel."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from slicer.i18n import tr as _

from ..core.job import Job
from ..mrml.fingerprint import fingerprint
from ..mrml.outputs import publish
from ..mrml.results import load_result
from ..worker.session import FINISHED, Outcome
from .errand import COMPUTED, READING, Errand, MakeProcess
from .process import WorkerProcess
from .requests import Request

OUTPUTS = {
    "warped": "warped.nrrd",
    "warped_labels": "warped_seg.nrrd",
    "transform": "transform.h5",
    "jacobian": "jacobian.nrrd",
    "uncertainty": "uncertainty.nrrd",
    "extras": "extra.nrrd",
    "report": "report.json",
}


class Attempt(Errand):
    """The life of one request.

    Attributes
    ----------
    run : Run or None
        The published result.
    """

    def __init__(self, request: Request, *, make_process: MakeProcess = WorkerProcess) -> None:
        super().__init__(request.inputs, request.compute, keep_files=request.keep_files, make_process=make_process)
        self.request = request
        self.run: Any = None
        self._seen: Hashable = None

    def start(self) -> None:
        """Begin copying the inputs."""
        if self.request.shared_start is not None:
            self._seen = fingerprint(self.inputs)
        super().start()

    def job(self, files: Mapping[str, str], label_names: Mapping[str, str]) -> Job:
        """Return the registration that is asked for."""
        request, shared = self.request, self.request.shared_start
        return Job(
            inputs=files,
            engine=request.engine,
            preset=request.preset,
            settings=request.settings,
            compute=request.compute,
            outputs=OUTPUTS,
            label_names=label_names,
            options=shared.options(self.need_folder, self._seen) if shared is not None else {},
            ephemeral=not request.keep_files,
        )

    def take(self, outcome: Outcome) -> None:
        """Read the files in a thread, then put them into the scene."""
        folder, shared = self.need_folder, self.request.shared_start
        self.enter(READING, _("Reading the result"), COMPUTED)
        self.in_background(
            lambda: (load_result(folder), shared.read(folder, outcome.result) if shared is not None else None),
            self._publish,
        )

    def _publish(self, read: Any) -> None:
        loaded, start = read
        if self.request.shared_start is not None:
            self.request.shared_start.take(start, self._seen)
        find = self.request.parameter_node
        try:
            self.run = publish(
                loaded,
                self.request.inputs,
                self.snapshot,
                parameter_node=find() if find is not None else None,
                targets=self.request.targets,
            )
        except Exception as error:
            self.fail(error)
            return
        self.end(FINISHED)
