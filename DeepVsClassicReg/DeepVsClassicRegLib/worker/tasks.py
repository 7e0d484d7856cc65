"""The tasks of a worker: name -> function, imported at first use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from ..core.job import Job
from ..core.progress import Progress
from ..core.registry import Registry

Task = Callable[[Job, Path, Progress], dict[str, Any]]

TASKS = Registry(
    __package__,
    "A worker cannot '{name}'.",
    {
        "register": "registering:register",
        "recommend": "advising:recommend",
        "evaluate": "advising:evaluate",
    },
)


def get_task(name: str) -> Task:
    """Return the function that does a kind of work.

    It takes the job, the job folder and the progress, writes its files into the job's `out` folder and returns
    what goes into result.json.

    Raises
    ------
    SettingsError
        When there is no such kind of work.
    """
    return cast(Task, TASKS.load(name))
