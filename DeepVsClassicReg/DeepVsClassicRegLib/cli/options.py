"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from ..core.device import DEVICES, Compute
from ..core.job import OUTPUTS, SEGMENTATION_ENDING, WARPED_SEGMENTATION

QUIET = "Print only errors, and one line with the verdict when it is not good."
F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)
PATH_SETTINGS = ("model", "models_folder", "transfer_to")
ROLES = {
    "fixed": "fixed",
    "moving": "moving",
    "fixed_seg": "fixed_labels",
    "moving_seg": "moving_labels",
    "fixed_mask": "fixed_mask",
    "moving_mask": "moving_mask",
    "fixed_exclude": "fixed_excluded",
    "moving_exclude": "moving_excluded",
    "fixed_rigid": "fixed_rigid",
    "moving_rigid": "moving_rigid",
    "fixed_points": "fixed_points",
    "moving_points": "moving_points",
    "initial": "initial",
}
_VOLUME = "volume: NIfTI, NRRD, MetaImage, FreeSurfer .mgz, or a DICOM folder (see --series)."
_SERIES = (
    "Series of a DICOM folder with several series: its number in the list that the error shows, its UID or its "
    "description; with the prefix fixed= or moving= when both are folders (repeatable)."
)
_SEGMENTATION = (
    "segmentation (label numbers, or .seg.nrrd: matched by name); used to evaluate the result, not to compute it."
)
_MASK = "mask: the similarity is measured only where it is not 0."
_EXCLUDE = (
    "region that is left out (lesion, resection, implant; not 0): it is compared with nothing and follows its "
    "neighborhood, see the setting 'excluded' of the engine instance."
)
_RIGID = "rigid bodies (bones, implants), one per label; kept by the engine instance."
_POINTS = "landmarks (.csv with x,y,z in LPS mm, .fcsv, .mrk.json), matched by name or else by order."


def pair_options(*, masks: bool = True, initial: bool = True) -> Callable[[F], F]:
    """Add the options for the files of a pair."""
    options = [
        click.option("--fixed", type=FILE, required=True, help=f"Fixed {_VOLUME}"),
        click.option("--moving", type=FILE, required=True, help=f"Moving {_VOLUME}"),
        click.option("--fixed-seg", type=FILE, help=f"Fixed {_SEGMENTATION}"),
        click.option("--moving-seg", type=FILE, help=f"Moving {_SEGMENTATION}"),
    ]
    if masks:
        options += [
            click.option("--fixed-mask", type=FILE, help=f"Fixed {_MASK}"),
            click.option("--moving-mask", type=FILE, help=f"Moving {_MASK}"),
            click.option("--fixed-exclude", type=FILE, help=f"Fixed {_EXCLUDE}"),
            click.option("--moving-exclude", type=FILE, help=f"Moving {_EXCLUDE}"),
            click.option("--fixed-rigid", type=FILE, help=f"Fixed {_RIGID}"),
            click.option("--moving-rigid", type=FILE, help=f"Moving {_RIGID}"),
        ]
    options += [
        click.option("--fixed-points", type=FILE, help=f"Fixed {_POINTS}"),
        click.option("--moving-points", type=FILE, help=f"Moving {_POINTS}"),
    ]
    options.append(click.option("--series", metavar="[ROLE=]SERIES", multiple=True, help=_SERIES))
    if initial:
        options.append(
            click.option(
                "--initial",
                type=FILE,
                help="Fixed-to-moving transform to start from (.h5, .tfm, .txt, .mat or a displacement volume); "
                "without it a robust linear alignment is computed first.",
            )
        )
    return combined(options)


def compute_options(command: F) -> F:
    """Add the options for device, threads and seed."""
    return combined(
        [
            click.option("--threads", default=0, show_default=True, help="Maximum CPU threads; 0 for all cores."),
            click.option("--seed", default=0, show_default=True, help="Seed of the random number generators."),
            click.option(
                "--device",
                type=click.Choice(DEVICES),
                default="auto",
                show_default=True,
                help="Device of deep engines; most classical engines use the CPU.",
            ),
        ]
    )(command)


def show_options(command: F) -> F:
    """Add the options for the amount of output."""
    return combined(
        [
            click.option("--quiet", "-q", is_flag=True, help=QUIET),
            click.option("--verbose", "-v", is_flag=True, help="Print the log of the engine as well."),
            click.option("--json", "as_json", is_flag=True, help="Print the report as JSON to standard output."),
        ]
    )(command)


def error_model_option(command: F) -> F:
    """Add `--error-model`."""
    return click.option(
        "--error-model",
        default="auto",
        show_default=True,
        help="Model of the kind 'error' that estimates the error, by name or folder; auto: the one that ships.",
    )(command)


def estimate_option(command: F) -> F:
    """Add `--estimate-segs`."""
    return click.option(
        "--estimate-segs",
        is_flag=False,
        flag_value="auto",
        metavar="[=MODEL]",
        help="Estimate segmentations that are not given with a network, by default the one that ships (needs PyTorch); "
        "their structures are marked as estimated.",
    )(command)


def page_option(command: F) -> F:
    """Add `--no-html`."""
    return click.option("--no-html", is_flag=True, help="Skip the HTML pages (saves a few seconds per run).")(command)


def outputs_of(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the requested outputs from the options of a command."""
    without = {"warped_labels"} if options["moving_seg"] is None else set()
    if options["no_html"]:
        without.add("html")
    names = dict(OUTPUTS)
    if options["moving_seg"] is not None and options["moving_seg"].name.lower().endswith(SEGMENTATION_ENDING):
        names["warped_labels"] = WARPED_SEGMENTATION
    return {role: name for role, name in names.items() if role not in without}


def setting_option(command: F) -> F:
    """Add `--set`."""
    return click.option(
        "--set",
        "settings",
        metavar="NAME=VALUE",
        multiple=True,
        help="Change a setting of the engine (repeatable); `dvcreg engines --settings NAME` lists them.",
    )(command)


def inputs_of(options: Mapping[str, Any]) -> dict[str, str]:
    """Return the inputs as absolute paths from the options of a command; `folder#4` is series 4 of a DICOM folder."""
    paths = {role: path.resolve() for name, role in ROLES.items() if (path := options.get(name)) is not None}
    inputs = {role: str(path) for role, path in paths.items()}
    for entry in options.get("series", ()):
        role, equals, series = entry.partition("=")
        if not equals or role not in ROLES:
            folders = [side for side in ("fixed", "moving") if paths[side].is_dir()]
            if len(folders) != 1:
                raise click.UsageError(f"--series {entry}: specify the side with fixed={entry} or moving={entry}.")
            role, series = folders[0], entry
        inputs[ROLES[role]] = f"{paths[ROLES[role]]}#{series}"
    return inputs


def compute_of(options: Mapping[str, Any]) -> Compute:
    """Return device, threads and seed from the options of a command."""
    return Compute(device=options["device"], threads=options["threads"], seed=options["seed"])


def settings_of(entries: tuple[str, ...]) -> dict[str, str]:
    """Return the settings given as NAME=VALUE, relative paths made absolute: the worker runs in its own folder."""
    settings = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals or not name.strip():
            raise click.UsageError(f"--set needs NAME=VALUE, got '{entry}'.")
        name, value = name.strip(), value.strip()
        settings[name] = str(Path(value).expanduser().resolve()) if _is_path(name, value) else value
    return settings


def _is_path(name: str, value: str) -> bool:
    """Return whether the value of a setting is an existing path; a model is one when the folder has a card."""
    if name not in PATH_SETTINGS or not value:
        return False
    path = Path(value).expanduser()
    return (path / "card.json").is_file() if name == "model" else path.exists()


def combined(options: list[Callable[[F], F]]) -> Callable[[F], F]:
    """Return the decorator that adds several options to a command, in their order."""

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
