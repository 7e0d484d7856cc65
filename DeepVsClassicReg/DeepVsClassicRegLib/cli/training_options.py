"""Options that `dvcreg train` and `dvcreg finetune` share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import click

from ..core.networks.card import SUPERVISION
from ..core.training.config import TrainSettings
from ..core.training.options import CARD_TEXTS
from .options import F, combined, compute_options


def training_options(command: F) -> F:
    """Add the options of a training."""
    return combined(
        [
            click.option("--data", "-d", help="Training data, see above."),
            click.option(
                "--supervision",
                type=click.Choice(SUPERVISION),
                help="What else than images is learned from: label maps, displacements that are known (generated "
                "pairs) or found by --teacher, the error or the pose of misaligned images, or momenta that "
                "the method itself optimizes. The method's own when not given.",
            ),
            click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="Folder to write into."),
            click.option("--resume", is_flag=True, help="Continue the training run in --out, if there is one."),
            click.option(
                "--install", is_flag=True, help="Add the finished model to your models, like `dvcreg models add`."
            ),
            click.option("--dry-run", is_flag=True, help="Measure time and memory of a few steps; write no files."),
            click.option(
                "--size",
                default="96",
                show_default=True,
                help="Grid size in voxels: N or X,Y,Z; X,Y for 2D images; own: that of the images, not resampled; "
                "auto: the same, coarser for large images.",
            ),
            click.option("--spacing", default=2.0, show_default=True, help="Voxel size of the grid in mm."),
            click.option("--batch", default=1, show_default=True, help="Number of pairs per step."),
            click.option(
                "--validation",
                default=20,
                show_default=True,
                help="Number of validation pairs, of randomly drawn subjects; small data sets have fewer.",
            ),
            click.option(
                "--linear",
                metavar="FILE|first",
                help="Real data: align every image linearly to this volume, or to the first training image; default: "
                "the image headers.",
            ),
            click.option(
                "--labels-per-step", default=0, show_default=True, help="Real data: random labels per step; 0 for all."
            ),
            click.option(
                "--teacher",
                metavar="ENGINE[:PRESET]",
                help="Real data: learn the displacements computed by this engine (with --supervision displacement); "
                "appearance models: register the images with it.",
            ),
            click.option(
                "--teacher-pairs", default=100, show_default=True, help="Number of pairs that the teacher registers."
            ),
            click.option("--patch", default="", metavar="N|X,Y,Z", help="Train on patches of this size in voxels."),
            click.option(
                "--augment",
                metavar="usual|NAME=VALUE",
                multiple=True,
                help="Random augmentation of pose, shape and intensities of the training pairs.",
            ),
            click.option(
                "--misalign",
                metavar="NAME=VALUE",
                multiple=True,
                help="How far off the warped images are that metrics, error models and agents learn from.",
            ),
            *_train_options(),
            click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help="Setting of the method."),
            click.option("--synth", metavar="NAME=VALUE", multiple=True, help="Setting of the generator."),
            *(click.option(f"--{name}", help=text) for name, text in CARD_TEXTS.items()),
            compute_options,
            click.option("--quiet", "-q", is_flag=True, help="Print only errors."),
            click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
        ]
    )(command)


def _train_options() -> list[Callable[[F], F]]:
    made: list[Callable[[F], F]] = []
    for entry in dataclasses.fields(TrainSettings):
        if entry.name == "seed":
            continue
        about = entry.metadata
        words = ". ".join(text for text in (about["label"], about["tooltip"]) if text)
        unit = f" [{about['unit']}]" if about["unit"] else ""
        kind = click.Choice(about["choices"]) if about["choices"] else type(entry.default)
        name = "--" + entry.name.replace("_", "-")
        flag = {"is_flag": True} if kind is bool else {"type": kind, "show_default": True}
        made.append(click.option(name, default=entry.default, help=words + unit, **flag))
    return made
