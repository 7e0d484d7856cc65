"""The tasks of a worker: name -> function, imported on first use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from ..core.job import EVALUATE, METHODS, MOTION, RECOMMEND, REGISTER, SEGMENT, STACK, TRAIN, Job
from ..core.progress import Progress
from ..core.registry import Registry

Task = Callable[[Job, Path, Progress], dict[str, Any]]

TASKS = Registry(
    __package__,
    "The worker has no task '{name}'.",
    {
        REGISTER: "registering:register",
        RECOMMEND: "advising:recommend",
        EVALUATE: "advising:evaluate",
        SEGMENT: "segmenting:segment_volumes",
        MOTION: "moving:correct_frames",
        STACK: "stacking:align_stack",
        TRAIN: "training:train",
        METHODS: "training:methods",
    },
)


def get_task(name: str) -> Task:
    """Return the function of a task.

    It receives job, job folder and progress, writes its files to the job's `out` folder and returns the content of
    result.json.

    Raises
    ------
    SettingsError
        When there is no task of that name.
    """
    return cast(Task, TASKS.load(name))
