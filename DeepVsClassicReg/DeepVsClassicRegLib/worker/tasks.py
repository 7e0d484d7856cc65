"""The kinds of work a worker knows: name -> where its function is. Nothing is imported before it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from ..core.errors import SettingsError, did_you_mean
from ..core.progress import Progress
from .job import Job

Task = Callable[[Job, Path, Progress], dict[str, Any]]

TASKS = {
    "register": "registering:register",
    "recommend": "advising:recommend",
    "evaluate": "advising:evaluate",
}


def get_task(name: str) -> Task:
    """Return the function that does a kind of work.

    It takes the job, the job folder and the progress, writes its files into the job's `out` folder and returns
    what goes into result.json.

    Raises
    ------
    SettingsError
        When there is no such kind of work.
    """
    if name not in TASKS:
        raise SettingsError(f"A worker cannot '{name}'.", hint=did_you_mean(name, TASKS))
    module, _, function = TASKS[name].partition(":")
    return cast(Task, getattr(importlib.import_module(f".{module}", __package__), function))
