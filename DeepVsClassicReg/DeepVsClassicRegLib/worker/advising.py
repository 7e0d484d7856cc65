"""Tasks of the worker other than registration: recommend an engine for a pair, and evaluate an existing transform."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from ..core.errors import RegistrationError, SettingsError, did_you_mean
from ..core.evaluation.evaluate import evaluate as measure
from ..core.images.volume import is_unsound
from ..core.job import ESTIMATED_SEGMENTATIONS, Job
from ..core.pair import reader_notes
from ..core.progress import Progress
from ..core.recommend import recommend as advise
from .registering import read_pair

READ = 0.1
FROM_JOB = ("pair", "device", "threads", "progress")
OPTIONS = tuple(name for name in inspect.signature(advise).parameters if name not in FROM_JOB)


def recommend(job: Job, folder: Path, progress: Progress) -> dict[str, Any]:
    """Run a job of the kind 'recommend': `options` are passed to `core.recommend.recommend`.

    Returns
    -------
    dict
        'advice' is `Advice.to_json()`; no file is written.

    Raises
    ------
    SettingsError
        When an option is unknown.
    RegistrationError
        When the pair cannot be registered at all.
    Cancelled
        When the user canceled.
    """
    wanted = {name: value for name, value in job.options.items() if name != ESTIMATED_SEGMENTATIONS}
    for name in wanted:
        if name not in OPTIONS:
            raise SettingsError(f"A recommendation has no option '{name}'.", hint=did_you_mean(name, OPTIONS))
    progress.report(0.0, "Reading the images")
    pair = read_pair(job, folder)
    advice = advise(
        pair,
        device=job.compute.device,
        threads=job.compute.threads,
        progress=progress.part(READ, 1.0),
        **wanted,
    )
    return {"advice": advice.to_json(), "files": {}}


def evaluate(job: Job, folder: Path, progress: Progress) -> dict[str, Any]:
    """Run a job of the kind 'evaluate': measure the pair before and after the transform given as 'initial'.

    Returns
    -------
    dict
        'measures' with 'before' and 'after', 'notes', and 'unsound', the notes on inputs that may be wrong; no file is
        written.

    Raises
    ------
    RegistrationError
        When there is no transform, or a file is not usable.
    Cancelled
        When the user canceled.
    """
    progress.report(0.0, "Reading the images")
    pair = read_pair(job, folder)
    if pair.initial is None:
        raise RegistrationError("There is no transform to evaluate.", hint="Add the transform to the inputs.")
    found = measure(
        pair.replace(initial=None),
        pair.initial,
        threads=job.compute.threads,
        progress=progress.part(READ, 1.0),
    )
    notes = [*reader_notes(pair), *found.notes]
    return {
        "measures": {"before": dict(found.before), "after": dict(found.after)},
        "notes": notes,
        "unsound": [note for note in notes if is_unsound(note)],
        "files": {},
    }
