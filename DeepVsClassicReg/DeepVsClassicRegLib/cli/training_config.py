"""Converts the options of a training command to a config, and back when training is resumed."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..core.errors import FileError, SettingsError
from ..core.networks.catalogue import get_method
from ..core.settings import from_json, to_json
from ..core.training.checkpoint import has_checkpoint
from ..core.training.config import CONFIG_FILE, TrainingConfig, TrainSettings, read_config
from ..core.training.options import (
    CARD_TEXTS,
    USUAL_AUGMENTATION,
    TrainingOptions,
    config_of,
    data_settings,
    start_of,
)
from .options import settings_of

# Options that configs of the first release do not contain.
_DATA_DEFAULTS = {
    "teacher": "",
    "teacher_pairs": 100,
    "patch": [],
    "augmentation": {},
    "misalignment": {},
    "validation": 4,
}
FREE = ("steps", "hours", "checkpoint_minutes", "half")  # options that can change when training is resumed
GROUPS = ("settings", "synth", "augment", "misalign")  # repeated options NAME=VALUE


def config_from(context: click.Context, options: Mapping[str, Any], start: Mapping[str, str]) -> TrainingConfig:
    """Return the config of the options or, when resuming, that of the folder with the allowed changes.

    Raises
    ------
    FileError
        When the folder contains a training run and --resume is not given.
    SettingsError
        When an option that cannot change differs from the resumed training run.
    """
    out = Path(options["out"])
    resumes = options["resume"] and (out / CONFIG_FILE).is_file()
    if has_checkpoint(out) and not resumes and not options["dry_run"]:
        raise FileError(
            f"{out} already contains a training run.", hint="Use --resume to continue it, or another --out."
        )
    if not resumes:
        return _config(options, start, context)
    former = read_config(out)
    given = {name for name in options if is_given(context, name)}
    merged = {**options_of(former), **{name: options[name] for name in given}}
    for name in GROUPS:  # single values were given, the rest stays
        merged[name] = (*options_of(former)[name], *options[name])
    wanted = _config(merged, start or former.start, context)
    _check_same(former, wanted)
    return dataclasses.replace(wanted, command=former.command)


def options_of(config: TrainingConfig) -> dict[str, Any]:
    """Return the options that produce a config."""
    data = data_settings(config)
    return {
        "method": config.method,
        "data": data.spec,
        "supervision": config.supervision,
        "size": ",".join(str(entry) for entry in data.size),
        "spacing": data.spacing_mm,
        "batch": data.batch,
        "validation": data.validation,
        "linear": data.linear,
        "labels_per_step": data.labels_per_step,
        "settings": entries_of(config.method_settings),
        "synth": entries_of(data.synthesis),
        "augment": entries_of(data.augmentation),
        "misalign": entries_of(data.misalignment),
        "teacher": data.teacher,
        "teacher_pairs": data.teacher_pairs,
        "patch": ",".join(str(entry) for entry in data.patch),
        **to_json(config.train),
        **{name: config.card.get(name) for name in CARD_TEXTS},
    }


def started_from(context: click.Context, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the options of fine-tuning with defaults from its model, and the model to start from.

    Without --model (when resuming) the model is that of the folder's config.
    """
    filled = {**options, "method": None}
    if options["model"] is None:
        if not options["resume"]:
            raise click.UsageError("Fine-tuning needs --model.")
        return filled, {}
    usual, start = start_of(options["model"])
    filled["method"] = usual["method"]
    filled["settings"] = (*entries_of(usual["settings"]), *options["settings"])
    if not is_given(context, "size"):
        filled["size"] = usual["size"]
    if not is_given(context, "spacing"):
        filled["spacing"] = usual["spacing_mm"]
    filled["supervision"] = options["supervision"] or usual["supervision"] or None
    return filled, start


def entries_of(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return settings as the NAME=VALUE of the command line."""
    return tuple(_entry(name, value) for name, value in settings.items())


def is_given(context: click.Context, name: str) -> bool:
    """Return whether an option was given on the command line."""
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _config(options: Mapping[str, Any], start: Mapping[str, str], context: click.Context) -> TrainingConfig:
    if not options["method"] or not options["data"]:
        raise click.UsageError("A new training needs --method and --data.")
    usual = USUAL_AUGMENTATION in options["augment"]
    augment = settings_of(tuple(entry for entry in options["augment"] if entry != USUAL_AUGMENTATION))
    wanted = TrainingOptions(
        method=options["method"],
        data=options["data"],
        supervision=options["supervision"] or "",
        size=options["size"],
        spacing_mm=options["spacing"],
        batch=options["batch"],
        validation=options["validation"],
        linear=options["linear"] or "",
        labels_per_step=options["labels_per_step"],
        teacher=options["teacher"] or "",
        teacher_pairs=options["teacher_pairs"],
        patch=options["patch"],
        settings=settings_of(options["settings"]),
        synthesis=settings_of(options["synth"]),
        augmentation={USUAL_AUGMENTATION: True, **augment} if usual else augment,
        misalignment=settings_of(tuple(options["misalign"])),
        train={entry.name: options[entry.name] for entry in dataclasses.fields(TrainSettings)},
        texts={name: options[name] or "" for name in CARD_TEXTS},
    )
    return config_of(wanted, start=start, command=shlex.join(["dvcreg", *context.find_root().obj]))


def _check_same(former: TrainingConfig, wanted: TrainingConfig) -> None:
    free = dict.fromkeys(FREE)
    if former.train.schedule == "cosine" or len(_stages(former)) > 1:
        free.pop("steps")
    before, after = ({**to_json(config.train), **free} for config in (former, wanted))
    changed = [name for name in before if before[name] != after[name]]
    changed += [
        name for name in ("method", "supervision", "method_settings", "start") if _differs(former, wanted, name)
    ]
    before, after = ({**_DATA_DEFAULTS, **config.data} for config in (former, wanted))
    changed += [name for name in after if before.get(name) != after[name]]
    if changed:
        raise SettingsError(
            f"A resumed training run cannot change {', '.join(changed)}.",
            hint="Omit these options, or start a new training run with another --out.",
        )


def _stages(config: TrainingConfig) -> tuple[Any, ...]:
    method = get_method(config.method)
    return method.stages(from_json(method.info.settings, config.method_settings))


def _differs(former: TrainingConfig, wanted: TrainingConfig, name: str) -> bool:
    return bool(getattr(former, name) != getattr(wanted, name))


def _entry(name: str, value: Any) -> str:
    if isinstance(value, list):
        value = ",".join(str(entry) for entry in value)
    return f"{name}={'none' if value is None else value}"
