"""`dvcreg atlas`: build an atlas, and label a volume by atlases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ..core.progress import Progress, Update
from ..worker.protocol import EXIT_RESULT
from .folders import output_folder
from .options import setting_option, settings_of
from .output import show_entries, show_json, show_note, show_table
from .running import shown_updates

PATH = click.Path(path_type=Path)
HELP = """Atlases: the mean shape and intensity of several subjects, and segmentation by labeled atlases."""
BUILD_HELP = """Build an unbiased atlas of two or more subjects of one anatomy and contrast.

SOURCES are volumes, or one folder or list with label maps: a folder with images and label maps (imagesTr and labelsTr,
or S1_t1.nii.gz with S1_seg.nii.gz), a .csv (image,label), or a Learn2Reg .json. All subjects are registered to the
present atlas and averaged, and the mean transform is removed, first linearly, then with the engine, until the atlas is
still. No subject is the reference, and the order of the volumes has no effect.

\b
Written to --out:
  template.nii.gz        mean intensities (background 0, brightest tissue 1000)
  deviation.nii.gz       standard deviation of the intensities over the subjects
  template_seg.nii.gz    the most probable labels (with label maps); probabilities/label_NNN.nii.gz for each label
  subjects/NAME/         atlas_to_subject.h5 (warps the subject to the atlas), subject_to_atlas.h5 (warps the atlas to
                         the subject), and warped.nii.gz (the subject on the grid of the atlas)
  atlas.json, atlas.html rounds, sharpness, convergence, subjects, pictures
  work/                  the rounds; the same command continues from it, also with more --rounds

\b
Examples:
  dvcreg atlas build scans/*.nii.gz -o atlas
  dvcreg atlas build subjects.csv --engine ants:quick --spacing 2 --workers 4 -o atlas
  dvcreg atlas build a.nii.gz b.nii.gz c.nii.gz --seg as.nii.gz --seg bs.nii.gz --seg cs.nii.gz --rounds 6 -o atlas
"""


@click.group("atlas", help=HELP)
def command() -> None:
    """Group of the commands about atlases."""


def process_options(wrapped: Any) -> Any:
    """Add the options for processes and output."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON to standard output."),
        click.option("--quiet", "-q", is_flag=True, help="Print only errors."),
        click.option("--no-html", is_flag=True, help="Skip the HTML page."),
        click.option("--seed", default=0, show_default=True, help="Seed of the random number generators."),
        click.option("--threads", default=1, show_default=True, help="Threads of each process."),
        click.option("--workers", default=1, show_default=True, help="Number of parallel processes."),
    ):
        wrapped = option(wrapped)
    return wrapped


@command.command("build", help=BUILD_HELP)
@click.argument("sources", nargs=-1, required=True, type=PATH)
@click.option(
    "--seg", "labels", multiple=True, type=PATH, help="Label map of each volume, in their order (repeatable)."
)
@click.option("--out", "-o", type=PATH, required=True, help="Folder to write into.")
@click.option("--engine", "-e", default="instance", show_default=True, help="Deformable engine, or ENGINE:PRESET.")
@setting_option
@click.option("--spacing", default=0.0, help="Voxel size in mm; default: the median of the volumes.")
@click.option("--linear", default="affine", show_default=True, help="Linear alignment: rigid, similarity or affine.")
@click.option("--linear-rounds", default=2, show_default=True, help="Number of linear rounds.")
@click.option("--rounds", default=4, show_default=True, help="Largest number of deformable rounds.")
@click.option("--still", default=0.05, show_default=True, help="Ends when the mean transform is smaller, in voxels.")
@process_options
def build(sources: tuple[Path, ...], labels: tuple[Path, ...], out: Path, **options: Any) -> int:
    """Build an atlas."""
    from ..core.cohort.atlas_build import SEGMENTATION, TEMPLATE, AtlasSettings, build_atlas, facts_json
    from ..core.cohort.atlas_page import write_atlas_page
    from ..core.cohort.atlas_subjects import gather_subjects
    from ..core.files import protect_inputs
    from ..core.settings import from_json

    subjects = gather_subjects(sources, labels)
    settings = from_json(
        AtlasSettings,
        {
            "engine": options["engine"],
            "linear": options["linear"],
            "spacing_mm": options["spacing"],
            "linear_rounds": options["linear_rounds"],
            "rounds": options["rounds"],
            "still": options["still"],
        },
    )
    protect_inputs([subject.image for subject in subjects], [out / TEMPLATE, out / SEGMENTATION])
    folder = output_folder(out)
    with shown_progress(quiet=options["quiet"] or options["as_json"]) as progress:
        atlas = build_atlas(
            subjects,
            folder,
            settings,
            engine_settings=settings_of(options["settings"]),
            workers=options["workers"],
            threads=options["threads"],
            seed=options["seed"],
            progress=progress,
        )
    files = {"atlas": folder / TEMPLATE}
    if not options["no_html"]:
        files["page"] = write_atlas_page(atlas)
    if options["as_json"]:
        show_json(facts_json(atlas))
    elif not options["quiet"]:
        rows = [
            [f"{one.stage} {one.number}", f"{one.shift_mm:.3f}", f"{one.change:.4f}", f"{one.sharpness:.3f}"]
            for one in atlas.rounds
        ]
        show_table(
            f"Atlas of {len(atlas.members)} subjects", ["Round", "Shift mm", "Change", "Sharpness"], rows, numbers=True
        )
        show_entries("Written", files)
    worst = atlas.members[0]
    if not options["quiet"]:
        show_note(f"Least similar to the atlas: {worst.name} (correlation {worst.correlation:.3f}).")
    return EXIT_RESULT


LABEL_HELP = """Segment a volume by labeled atlases (multi-atlas segmentation).

All atlases are aligned linearly to TARGET, the most similar ones (normalized mutual information) are registered to it,
and their labels are fused. ATLASES is a folder with images and label maps, a .csv (image,label) or a Learn2Reg .json.

\b
Fusion:
  majority   every atlas has one vote
  staple     votes count as much as the estimated performance of the atlas for each label (STAPLE)
  joint      votes count as much as the intensities around the voxel agree, less for atlases with the same errors

\b
Written to --out:
  segmentation.nii.gz             the most probable labels
  probabilities/label_NNN.nii.gz  probability of each label
  labeling.json                   chosen atlases, similarity of all, volumes, Dice (with --truth)
  leave_one_out.csv               with --leave-one-out: Dice of every atlas labeled by the others, instead of the above
  work/                           finished registrations; the same command does not repeat them

\b
Examples:
  dvcreg atlas label scan.nii.gz --atlases labeled -o labels
  dvcreg atlas label scan.nii.gz --atlases atlases.csv --use 5 --fusion staple --truth manual.nii.gz -o labels
  dvcreg atlas label --leave-one-out --atlases labeled --use 1 --use 5 --use 15 --workers 2 -o evaluation
"""


@command.command("label", help=LABEL_HELP)
@click.argument("target", required=False, type=PATH)
@click.option("--atlases", type=PATH, required=True, help="Folder or list of labeled volumes.")
@click.option("--out", "-o", type=PATH, required=True, help="Folder to write into.")
@click.option("--engine", "-e", default="instance", show_default=True, help="Deformable engine, or ENGINE:PRESET.")
@setting_option
@click.option(
    "--use",
    "counts",
    multiple=True,
    type=int,
    help="Number of atlases, 0 for all; default 10 (evaluation: repeatable).",
)
@click.option(
    "--fusion", "fusions", multiple=True, help="majority, staple or joint; default joint (evaluation: repeatable, all)."
)
@click.option("--truth", type=PATH, help="Segmentation of TARGET for the Dice.")
@click.option("--leave-one-out", is_flag=True, help="Evaluate: label every atlas by the others.")
@process_options
def label(target: Path | None, atlases: Path, out: Path, **options: Any) -> int:
    """Label a volume by atlases."""
    from ..core.cohort.atlas_subjects import gather_subjects

    if (target is None) != options["leave_one_out"]:
        raise click.UsageError("Give a TARGET or --leave-one-out.")
    subjects = gather_subjects([atlases], fewest=2 if target is None else 1, need_labels=True)
    run = {
        "engine_settings": settings_of(options["settings"]),
        **{name: options[name] for name in ("workers", "threads", "seed")},
    }
    if target is None:
        return _evaluate_atlases(subjects, out, options, run)
    return _label_one(target, subjects, out, options, run)


def _label_one(target: Path, atlases: Any, out: Path, options: dict[str, Any], run: dict[str, Any]) -> int:
    from ..core.cohort.atlas_label import (
        SEGMENTATION,
        LabelSettings,
        label_by_atlases,
        labeling_json,
        target_of,
        volumes_of,
    )
    from ..core.files import protect_inputs
    from ..core.settings import from_json

    counts, fusions = options["counts"] or (10,), options["fusions"] or ("joint",)
    if len(counts) > 1 or len(fusions) > 1:
        raise click.UsageError("Several --use or --fusion are for --leave-one-out.")
    settings = from_json(LabelSettings, {"engine": options["engine"], "atlases": counts[0], "fusion": fusions[0]})
    volume = target_of(target, options["truth"])
    protect_inputs([volume.image, *(atlas.image for atlas in atlases)], [out / SEGMENTATION])
    with shown_progress(quiet=options["quiet"] or options["as_json"]) as progress:
        found = label_by_atlases(volume, atlases, output_folder(out), settings, progress=progress, **run)
    if options["as_json"]:
        show_json(labeling_json(found, volume, settings))
    elif not options["quiet"]:
        volumes = volumes_of(found)
        names = found.segmentation.names
        rows = [
            [f"{number} {names.get(number, '')}".strip(), f"{size:.0f}", _dice(found.dice.get(number))]
            for number, size in volumes.items()
        ]
        title = f"{volume.name} by {len(found.used)} of {len(atlases)} atlases, {settings.fusion}"
        show_table(title, ["Label", "Volume mm3", "Dice"], rows, numbers=True)
        show_entries("Written", found.files)
    return EXIT_RESULT


def _evaluate_atlases(atlases: Any, out: Path, options: dict[str, Any], run: dict[str, Any]) -> int:
    from ..core.cohort.atlas_fusion import METHODS
    from ..core.cohort.atlas_label import leave_one_out
    from ..core.files import write_csv

    if options["truth"] is not None:
        raise click.UsageError("--truth is for a TARGET; the evaluation uses the label maps of the atlases.")
    folder = output_folder(out)
    with shown_progress(quiet=options["quiet"] or options["as_json"]) as progress:
        rows = leave_one_out(
            atlases,
            folder,
            options["engine"],
            counts=options["counts"] or (0,),
            fusions=options["fusions"] or tuple(METHODS),
            progress=progress,
            **run,
        )
    columns = ["target", "atlases", "fusion", "dice"]
    path = write_csv(folder / "leave_one_out.csv", columns, [[row[name] for name in columns] for row in rows])
    if options["as_json"]:
        show_json(rows)
    elif not options["quiet"]:
        groups: dict[tuple[int, str], list[float]] = {}
        for row in rows:
            groups.setdefault((row["atlases"], row["fusion"]), []).append(row["dice"])
        table = [
            [f"{count} {fusion}", f"{sum(d) / len(d):.3f}", f"{min(d):.3f}"] for (count, fusion), d in groups.items()
        ]
        show_table(
            f"{len(atlases)} atlases, each by the others", ["Atlases", "Mean Dice", "Lowest"], table, numbers=True
        )
        show_entries("Written", {"table": path})
    return EXIT_RESULT


def _dice(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


@contextmanager
def shown_progress(*, quiet: bool) -> Iterator[Progress]:
    """Provide a progress that is shown as a bar, or as a line for every new stage where there is no terminal."""
    last = ""

    def is_due(update: Update) -> bool:
        nonlocal last
        due, last = update.stage != last, update.stage
        return due

    with shown_updates(is_due, quiet=quiet) as listener:
        yield Progress(listener)
