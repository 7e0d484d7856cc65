"""From the options of a training command to its plan, and back when it is resumed."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..core.errors import FileError, SettingsError
from ..core.networks.catalogue import get_method
from ..core.networks.models import get_model
from ..core.settings import from_json, to_json
from ..core.training.checkpoint import has_checkpoint
from ..core.training.plan import PLAN_FILE, Plan, TrainSettings, read_plan
from ..core.training.specs import FIRST, LABELS, SHAPES, DataSettings, parts_of
from .options import settings_of
from .training_options import CARD_TEXTS

FREE = ("steps", "hours", "checkpoint_minutes", "half")  # what a resumed training may change


def planned(context: click.Context, options: Mapping[str, Any], start: Mapping[str, str]) -> Plan:
    """Return the plan of the options, or that of the folder with the few changes that are allowed.

    Raises
    ------
    FileError
        When the folder holds a training and --resume is not given.
    SettingsError
        When a resumed training would become another one.
    """
    out = Path(options["out"])
    resumes = options["resume"] and (out / PLAN_FILE).is_file()
    if has_checkpoint(out) and not resumes and not options["dry_run"]:
        raise FileError(f"{out} holds a training already.", hint="Give --resume to go on with it, or another --out.")
    if not resumes:
        return _plan(options, start)
    former = read_plan(out)
    given = {name for name in options if _is_given(context, name)}
    merged = {**options_of(former), **{name: options[name] for name in given}}
    for name in ("settings", "synth"):  # single values were given, the rest stays
        merged[name] = (*options_of(former)[name], *options[name])
    wanted = _plan(merged, start or former.start)
    _check_same(former, wanted)
    return dataclasses.replace(wanted, command=former.command)


def data_settings(plan: Plan) -> DataSettings:
    """Return the data settings kept in a plan."""
    return DataSettings(**{**plan.data, "size": tuple(plan.data["size"])})


def options_of(plan: Plan) -> dict[str, Any]:
    """Return the options that give a plan."""
    data = data_settings(plan)
    return {
        "method": plan.method,
        "data": data.spec,
        "supervision": plan.supervision,
        "size": ",".join(str(entry) for entry in data.size),
        "spacing": data.spacing_mm,
        "batch": data.batch,
        "validation": data.validation,
        "linear": data.linear,
        "labels_per_step": data.labels_per_step,
        "settings": tuple(_entry(name, value) for name, value in plan.method_settings.items()),
        "synth": tuple(_entry(name, value) for name, value in data.synthesis.items()),
        **to_json(plan.train),
        **{name: plan.card.get(name) for name in CARD_TEXTS},
    }


def _plan(options: Mapping[str, Any], start: Mapping[str, str]) -> Plan:
    if not options["method"] or not options["data"]:
        raise click.UsageError("A new training needs --method and --data.")
    info = get_method(options["method"]).info
    supervision = options["supervision"] or info.supervision[0]
    if supervision not in info.supervision:
        raise SettingsError(
            f"Method '{info.name}' cannot be trained with supervision '{supervision}'.",
            hint=f"It takes {' or '.join(info.supervision)}.",
        )
    settings: Any = from_json(info.settings, settings_of(options["settings"]))
    names = [entry.name for entry in dataclasses.fields(TrainSettings)]
    data = DataSettings(
        spec=_absolute(options["data"]),
        size=_size(options["size"]),
        spacing_mm=options["spacing"],
        batch=options["batch"],
        synthesis=settings_of(options["synth"]),
        linear=_absolute(options["linear"] or "", words=("", FIRST)),
        labels_per_step=options["labels_per_step"],
        validation=options["validation"],
    )
    return Plan(
        method=info.name,
        method_settings=to_json(settings),
        supervision=supervision,
        data={**dataclasses.asdict(data), "size": list(data.size)},
        train=from_json(TrainSettings, {name: options[name] for name in names}),
        card={**_usual_texts(data), **{name: options[name] for name in CARD_TEXTS if options[name]}},
        start=dict(start),
        command=shlex.join(["dvcreg", *sys.argv[1:]]),
    )


def _usual_texts(data: DataSettings) -> dict[str, str]:
    if not data.generated:
        return {}
    anywhere = {"anatomy": "any"} if data.spec == SHAPES else {}
    return {"contrasts": "any", "licence": "Apache-2.0", **anywhere}


def _check_same(former: Plan, wanted: Plan) -> None:
    free = dict.fromkeys(FREE)
    if former.train.schedule == "cosine":
        free.pop("steps")
    before, after = ({**to_json(plan.train), **free} for plan in (former, wanted))
    changed = [name for name in before if before[name] != after[name]]
    changed += [
        name for name in ("method", "supervision", "method_settings", "start") if _differs(former, wanted, name)
    ]
    changed += [name for name in former.data if former.data[name] != wanted.data[name]]
    if changed:
        raise SettingsError(
            f"A resumed training cannot change {', '.join(changed)}.",
            hint="Leave these options out, or start another training with another --out.",
        )


def _differs(former: Plan, wanted: Plan, name: str) -> bool:
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
    if spec.startswith(LABELS):
        return LABELS + str(Path(spec.removeprefix(LABELS)).expanduser().resolve())
    return str(Path(spec).expanduser().resolve())


def _size(text: str) -> tuple[int, ...]:
    try:
        entries = tuple(int(entry) for entry in str(text).split(","))
    except ValueError:
        entries = ()
    if len(entries) not in (1, 2, 3):
        raise click.UsageError(f"--size needs N, X,Y or X,Y,Z, got '{text}'.")
    return entries * 3 if len(entries) == 1 else entries


def started_from(context: click.Context, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the options of a fine-tuning with what its model says filled in, and the model to start from.

    Without --model (when resuming) the folder's plan knows the model.
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
