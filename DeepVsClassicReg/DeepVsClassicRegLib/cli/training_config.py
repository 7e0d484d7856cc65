"""Converts the options of a training command to a config, and back when training is resumed."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..core.errors import FileError, SettingsError
from ..core.networks.catalogue import get_method
from ..core.networks.model_store import get_model
from ..core.settings import from_json, to_json
from ..core.training.checkpoint import has_checkpoint
from ..core.training.config import (
    CONFIG_FILE,
    FIRST,
    FOLDER_GENERATORS,
    SHAPES,
    DataSettings,
    TrainingConfig,
    TrainSettings,
    is_generated,
    parts_of,
    read_config,
)
from .options import settings_of
from .training_options import CARD_TEXTS

OWN = "own"
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
    given = {name for name in options if _is_given(context, name)}
    merged = {**options_of(former), **{name: options[name] for name in given}}
    for name in ("settings", "synth", "augment", "misalign"):  # single values were given, the rest stays
        merged[name] = (*options_of(former)[name], *options[name])
    wanted = _config(merged, start or former.start, context)
    _check_same(former, wanted)
    return dataclasses.replace(wanted, command=former.command)


def data_settings(config: TrainingConfig) -> DataSettings:
    """Return the data settings of a config."""
    known = {entry.name for entry in dataclasses.fields(DataSettings)}
    return DataSettings(**{name: value for name, value in config.data.items() if name in known})


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
        "settings": tuple(_entry(name, value) for name, value in config.method_settings.items()),
        "synth": tuple(_entry(name, value) for name, value in data.synthesis.items()),
        "augment": tuple(_entry(name, value) for name, value in data.augmentation.items()),
        "misalign": tuple(_entry(name, value) for name, value in data.misalignment.items()),
        "teacher": data.teacher,
        "teacher_pairs": data.teacher_pairs,
        "patch": ",".join(str(entry) for entry in data.patch),
        **to_json(config.train),
        **{name: config.card.get(name) for name in CARD_TEXTS},
    }


def _config(options: Mapping[str, Any], start: Mapping[str, str], context: click.Context) -> TrainingConfig:
    if not options["method"] or not options["data"]:
        raise click.UsageError("A new training needs --method and --data.")
    info = get_method(options["method"]).info
    supervision = options["supervision"] or info.supervision[0]
    if supervision not in info.supervision:
        raise SettingsError(
            f"Method '{info.name}' cannot be trained with supervision '{supervision}'.",
            hint=f"Supported: {' or '.join(info.supervision)}.",
        )
    settings: Any = from_json(info.settings, settings_of(options["settings"]))
    names = [entry.name for entry in dataclasses.fields(TrainSettings)]
    data = _data_settings(options)
    return TrainingConfig(
        method=info.name,
        method_settings=to_json(settings),
        supervision=supervision,
        data={**dataclasses.asdict(data), "size": list(data.size), "patch": list(data.patch)},
        train=from_json(TrainSettings, {name: options[name] for name in names}),
        card={**_usual_texts(data), **{name: options[name] for name in CARD_TEXTS if options[name]}},
        start=dict(start),
        command=shlex.join(["dvcreg", *context.find_root().obj]),
    )


def _data_settings(options: Mapping[str, Any]) -> DataSettings:
    spec, size, spacing_mm = _absolute(options["data"]), options["size"], options["spacing"]
    if size == OWN:
        from ..core.training.manifest import read_manifest
        from ..core.training.preprocessing import own_grid

        if all(is_generated(part) for part in parts_of(spec)):
            raise SettingsError("Generated pairs have no native size.", hint="Give --size in voxels.")
        own, spacing_mm = own_grid(read_manifest(Path(spec), validation=options["validation"]))
        size = ",".join(str(entry) for entry in own)
    return DataSettings(
        spec=spec,
        size=_size(size),
        spacing_mm=spacing_mm,
        batch=options["batch"],
        synthesis=settings_of(options["synth"]),
        linear=_absolute(options["linear"] or "", words=("", FIRST)),
        labels_per_step=options["labels_per_step"],
        validation=options["validation"],
        teacher=options["teacher"] or "",
        teacher_pairs=options["teacher_pairs"],
        patch=_size(options["patch"], "--patch", len(_size(size))) if options["patch"] else (),
        augmentation=_augmentation(options["augment"]),
        misalignment=_misalignment(options["misalign"]),
    )


def _augmentation(given: Sequence[str]) -> dict[str, Any]:
    """Return the settings of the augmentation; 'usual' selects a moderate one."""
    if not given:
        return {}
    from ..core.training.augmentation import USUAL, AugmentationSettings

    base = to_json(USUAL) if "usual" in given else {}
    changes = settings_of(tuple(entry for entry in given if entry != "usual"))
    return to_json(from_json(AugmentationSettings, {**base, **changes}))


def _misalignment(given: Sequence[str]) -> dict[str, Any]:
    """Return the settings of known errors that were given, checked."""
    if not given:
        return {}
    from ..core.training.misalignment import MisalignmentSettings

    changes = settings_of(tuple(given))
    complete = to_json(from_json(MisalignmentSettings, changes))
    return {name: complete[name] for name in changes}


def _usual_texts(data: DataSettings) -> dict[str, str]:
    if data.has_own_images:
        return {}
    anywhere = {"anatomy": "any"} if data.spec == SHAPES else {}
    return {"contrasts": "any", "licence": "Apache-2.0", **anywhere}


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


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _entry(name: str, value: Any) -> str:
    if isinstance(value, list):
        value = ",".join(str(entry) for entry in value)
    return f"{name}={'none' if value is None else value}"


def _absolute(spec: str, words: Sequence[str] = (SHAPES,)) -> str:
    if spec in words:
        return spec
    parts = parts_of(spec)
    if len(parts) > 1:
        return "+".join(_absolute(part, words) for part in parts)
    name, colon, folder = spec.partition(":")
    if colon and name in FOLDER_GENERATORS:
        return f"{name}:{Path(folder).expanduser().resolve()}"
    return str(Path(spec).expanduser().resolve())


def _size(text: str, option: str = "--size", dimensions: int = 3) -> tuple[int, ...]:
    try:
        entries = tuple(int(entry) for entry in str(text).split(","))
    except ValueError:
        entries = ()
    if len(entries) not in (1, 2, 3):
        raise click.UsageError(f"{option} needs N, X,Y or X,Y,Z, got '{text}'.")
    return entries * dimensions if len(entries) == 1 else entries


def started_from(context: click.Context, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the options of fine-tuning with defaults from its model, and the model to start from.

    Without --model (when resuming) the model is that of the folder's config.
    """
    filled = {**options, "method": None}
    if options["model"] is None:
        if not options["resume"]:
            raise click.UsageError("Fine-tuning needs --model.")
        return filled, {}
    model = get_model(options["model"])
    card = model.card
    filled["method"] = card.method
    filled["settings"] = (*(_entry(name, value) for name, value in card.settings.items()), *options["settings"])
    if not _is_given(context, "size"):
        filled["size"] = ",".join(str(entry) for entry in card.size[: card.dimensions])
    if not _is_given(context, "spacing"):
        filled["spacing"] = card.spacing_mm
    if options["supervision"] is None and "labels" in get_method(card.method).info.supervision:
        filled["supervision"] = "labels"
    return filled, {"name": card.name, "sha256": card.sha256, "folder": str(model.folder.resolve())}
