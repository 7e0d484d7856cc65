"""A question about a pair that the worker answers with plain values: what to use, how well a transform fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.device import Compute
from ..core.job import Job
from ..mrml.inputs import Inputs
from ..worker.session import FINISHED, Outcome
from .errand import Errand, MakeProcess
from .process import WorkerProcess

RECOMMEND, EVALUATE = "recommend", "evaluate"


class Question(Errand):
    """One job without output files.

    Parameters
    ----------
    task : {'recommend', 'evaluate'}
        What is asked, see `worker.tasks`.
    inputs : Inputs
        The pair.
    compute : Compute
        Device and threads.
    options : mapping, optional
        What the task needs beyond the pair.
    make_process : callable
        As for `Errand`.

    Attributes
    ----------
    answer : mapping
        Content of the worker's result.json once it has finished.
    """

    def __init__(
        self,
        task: str,
        inputs: Inputs,
        compute: Compute,
        *,
        options: Mapping[str, Any] | None = None,
        make_process: MakeProcess = WorkerProcess,
    ) -> None:
        super().__init__(inputs, compute, make_process=make_process)
        self.task, self.options = task, dict(options or {})
        self.answer: Mapping[str, Any] = {}

    def job(self, files: Mapping[str, str], label_names: Mapping[str, str]) -> Job:
        """Return the job that asks."""
        return Job(
            task=self.task,
            inputs=files,
            compute=self.compute,
            outputs={},
            label_names=label_names,
            options=self.options,
            ephemeral=True,
        )

    def take(self, outcome: Outcome) -> None:
        """Keep the answer."""
        self.answer = outcome.result
        self.end(FINISHED)
