"""Tasks of the worker about training: train a network in its folder, and list the methods."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from ..core.errors import Cancelled, SettingsError, did_you_mean
from ..core.job import Job
from ..core.progress import Progress
from ..core.train import protect_training_inputs, run_training
from ..core.training.config import TrainingConfig, read_config
from ..core.training.folders import install
from ..core.training.options import TrainingOptions, config_of, start_of

OPTIONS = ("folder", "training", "model", "hours", "command")


def train(job: Job, folder: Path, progress: Progress) -> dict[str, Any]:
    """Run a job of the kind 'train'; the training folder outlives the job.

    Its options are `folder` (the training folder), `training` (entries of `TrainingOptions`; without them the training
    in the folder is resumed), `model` (a model to start from), `hours` (a new limit for a resumed training) and
    `command` (how it was started, for the card).

    Returns
    -------
    dict
        'model' is the name of the model in the user's folder, 'training' the numbers of the outcome.

    Raises
    ------
    SettingsError
        When an option is unknown.
    RegistrationError
        When data or settings are not usable, or nothing better than the initial weights was found.
    Cancelled
        When it was stopped; the checkpoint is written.
    """
    for name in job.options:
        if name not in OPTIONS:
            raise SettingsError(f"A training job has no option '{name}'.", hint=did_you_mean(name, OPTIONS))
    place = Path(job.options["folder"])
    progress.report(0.0, "Starting PyTorch")
    config = _config(job, place)
    outcome = run_training(config, place, compute=job.compute, progress=progress)
    if not outcome.finished:
        raise Cancelled
    model = install(place)
    return {"model": model.card.name, "training": {**dataclasses.asdict(outcome), "model": str(model.folder)}}


def methods(job: Job, folder: Path, progress: Progress) -> dict[str, Any]:
    """Run a job of the kind 'methods'.

    Returns
    -------
    dict
        'methods' lists the facts of every method that can be trained, see `networks.method_facts`.
    """
    from ..core.networks.catalogue import get_method, method_names
    from ..core.networks.method_facts import method_facts

    names = method_names()
    found = []
    for number, name in enumerate(names):
        progress.report(number / len(names), "Reading the list of methods")
        found.append(method_facts(get_method(name)))
    return {"methods": found}


def _config(job: Job, place: Path) -> TrainingConfig:
    if "training" not in job.options:
        config, hours = read_config(place), float(job.options.get("hours", 0.0))
        limits = dataclasses.replace(config.train, hours=hours) if hours else config.train
        return dataclasses.replace(config, train=limits)
    content: dict[str, Any] = dict(job.options["training"])
    start: dict[str, str] = {}
    if job.options.get("model"):
        usual, start = start_of(job.options["model"])
        content = {**usual, **content}
    config = config_of(TrainingOptions.from_json(content), start=start, command=str(job.options.get("command", "")))
    protect_training_inputs(config, place)
    return config
