"""Runs a training in this process: plan, log, progress, signals, and what is shown at the end."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ..core.device import Compute, torch_device
from ..core.errors import FileError, SettingsError
from ..core.networks.catalogue import get_method
from ..core.progress import Progress, Update, json_update
from ..core.settings import from_json, to_json
from ..core.training.checkpoint import has_checkpoint
from ..core.training.group import group_rank
from ..core.training.loop import Outcome, train
from ..core.training.plan import PLAN_FILE, Plan, TrainSettings, read_plan
from ..core.training.prepare import Align
from ..core.training.specs import FIRST, LABELS, SHAPES, DataSettings, make_source
from ..worker.protocol import EXIT_CANCELLED, EXIT_RESULT, Event
from .folders import output_folder
from .options import settings_of
from .output import show_entries, show_json
from .running import Listener
from .training_options import CARD_TEXTS

LOG_FILE = "train.log"
LINE_EVERY_S = 60.0
FREE = ("steps", "hours", "checkpoint_minutes", "half")  # what a resumed training may change


def run_training(context: click.Context, options: Mapping[str, Any], start: Mapping[str, str] | None = None) -> int:
    """Train as the options say and return the exit code.

    Parameters
    ----------
    context : click.Context
        Tells which options were given.
    options : mapping
        All options of the command.
    start : mapping, optional
        The model to start from (name, sha256, folder).
    """
    out = Path(options["out"])
    plan = planned(context, options, out, start or {})
    compute = Compute(device=options["device"], threads=options["threads"], seed=plan.train.seed)
    source = make_source(
        data_settings(plan),
        seed=plan.train.seed,
        device=_device(compute.device),
        cache=out / "prepared",
        align=_aligner(compute),
    )
    if options["dry_run"]:
        return _show_estimate(plan, source, compute, as_json=options["as_json"])
    folder, leads = output_folder(out), group_rank() == 0
    if leads:
        plan.write(folder)
    quiet = options["quiet"] or not leads
    with _logged(folder if leads else None), _shown(quiet) as listener, _stoppable() as stopped:
        outcome = train(plan, source, folder, compute=compute, progress=Progress(listener, stopped))
    if leads:
        _show(outcome, folder, quiet=quiet, as_json=options["as_json"])
    return EXIT_RESULT if outcome.finished else EXIT_CANCELLED


def planned(context: click.Context, options: Mapping[str, Any], out: Path, start: Mapping[str, str]) -> Plan:
    """Return the plan of the options, or that of the folder with the few changes that are allowed.

    Raises
    ------
    FileError
        When the folder holds a training and --resume is not given.
    SettingsError
        When a resumed training would become another one.
    """
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
        card={name: options[name] for name in CARD_TEXTS if options[name]},
        start=dict(start),
        command=shlex.join(["dvcreg", *sys.argv[1:]]),
    )


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


def _aligner(compute: Compute) -> Align:
    """Return the linear engine as the training wants it."""
    from ..core.engines.catalogue import get_engine
    from ..core.images.volume import Pair, Volume
    from ..core.settings import make_settings
    from ..core.transforms.transform import Transform

    engine = get_engine("linear")
    settings: Any = make_settings(engine.info.settings, "linear")

    def align(template: Volume, volume: Volume) -> Transform:
        return engine.run(Pair(template, volume), settings, Progress(), compute).transform

    return align


def _device(wanted: str) -> str:
    import os

    kind = torch_device(wanted)
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if kind == "cuda" else kind


@contextmanager
def _logged(folder: Path | None) -> Iterator[None]:
    """Write what the library says to the training's log."""
    if folder is None:
        yield
        return
    logger = logging.getLogger(__name__.partition(".")[0])
    before, handler = logger.level, logging.FileHandler(folder / LOG_FILE, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def _shown(quiet: bool) -> Iterator[Any]:
    """Show every step on a terminal, and a line a minute elsewhere."""
    listener = Listener(quiet=quiet)
    last = -LINE_EVERY_S

    def show(update: Update) -> None:
        nonlocal last
        now = time.monotonic()
        if listener.bar is None and now - last < LINE_EVERY_S:
            return
        last = now
        listener(Event("progress", json_update(update)))

    with listener.shown():
        yield show


@contextmanager
def _stoppable() -> Iterator[Any]:
    """Tell whether Ctrl-C or SIGTERM came; a second one ends at once."""
    came: list[int] = []

    def handle(number: int, _frame: Any) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _show_estimate(plan: Plan, source: Any, compute: Compute, *, as_json: bool) -> int:
    from ..core.training.estimate import estimate

    found, train_settings = estimate(plan, source, compute=compute), plan.train
    content = dataclasses.asdict(found)
    if train_settings.hours:
        content["steps_in_the_hours"] = found.steps_in(train_settings.hours, train_settings.validate_every)
    if train_settings.steps:
        content["hours_for_the_steps"] = round(found.hours_for(train_settings.steps, train_settings.validate_every), 3)
    if as_json:
        show_json(content)
    else:
        rounded = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in content.items()}
        show_entries("Measured on a few steps", {name.replace("_", " "): value for name, value in rounded.items()})
    return EXIT_RESULT


def _show(outcome: Outcome, folder: Path, *, quiet: bool, as_json: bool) -> None:
    content = {**dataclasses.asdict(outcome), "model": str(outcome.model)}
    if as_json:
        show_json(content)
    elif not quiet:
        numbers = {f"best {name.replace('_', ' ')}": value for name, value in outcome.best.items()}
        title = "Finished" if outcome.finished else f"Stopped; go on with: dvcreg train --resume --out {folder}"
        show_entries(title, {"step": outcome.step, "hours": f"{outcome.hours:.3f}", **numbers, "model": outcome.model})
