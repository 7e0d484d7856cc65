"""`dvcreg stack`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..core.progress import Progress
from ..worker.protocol import EXIT_RESULT
from .folders import output_folder
from .output import show_entries, show_json, show_note
from .running import shown_updates

HELP = """Align serial 2D sections to each other.

PATH is a folder of 2D images (PNG, TIFF, JPEG, BMP, 2D NIfTI, NRRD or MetaImage), in the order of the numbers in their
names, or a volume whose slices are the sections. Every section is aligned to the mean of its already aligned neighbors,
from the reference section outwards: linearly in the plane, then deformably by an engine.

The folder --out receives aligned.nrrd (in color where the sections are), transform.h5 (all sections, for `dvcreg
transform`), report.json, report.html, cuts.png, and transforms/section_0000.h5 and so on (aligned to original points,
LPS mm).

Sections alone do not tell a curved object from shifted sections: a chain of alignments straightens what is truly
curved. Therefore --drift keeps motion that is common to many neighboring sections, and deformations should be smooth;
see Testing/bench/STACKS.md.

\b
Examples:
  dvcreg stack sections --out aligned
  dvcreg stack volume.nii.gz --axis j --engine none --linear affine --out aligned
  dvcreg stack sections --engine none --out aligned
  dvcreg stack sections --set similarity=features:my-model --neighbors 3 --out aligned
"""
PATH = click.Path(path_type=Path)
ENGINE = "instance:sections"


@click.command("stack", help=HELP)
@click.argument("path", type=PATH)
@click.option("--out", "-o", type=PATH, required=True, help="Folder to write into.")
@click.option("--axis", type=click.Choice(["i", "j", "k"]), default="k", show_default=True, help="Axis across them.")
@click.option("--spacing", type=float, help="Pixel size of 2D images in mm, when their files do not contain it.")
@click.option("--thickness", type=float, help="Distance of the sections in mm.")
@click.option("--engine", "-e", default=ENGINE, show_default=True, help="ENGINE or ENGINE:PRESET; none: linear only.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Setting of the engine (repeatable).")
@click.option(
    "--linear", type=click.Choice(["rigid", "affine", "none"]), default="rigid", show_default=True, help="First step."
)
@click.option("--turn", default=20.0, show_default=True, help="Search of rotations in degrees, 180 for all.")
@click.option("--reference", default=-1, show_default=True, help="Number of the section that stays; -1: the middle.")
@click.option("--neighbors", default=2, show_default=True, help="Aligned sections that are averaged.")
@click.option("--drift", default=4.0, show_default=True, help="Motion common to this many sections is kept; 0: none.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda", "mps"]), default="auto", show_default=True)
@click.option("--threads", default=0, show_default=True, help="Maximum CPU threads; 0 for all cores.")
@click.option("--seed", default=0, show_default=True, help="Seed of the random number generators.")
@click.option("--quiet", "-q", is_flag=True, help="Print only errors.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(path: Path, out: Path, **options: Any) -> int:
    """Align the sections and write the results."""
    from ..core.files import protect_inputs
    from ..core.images.sections import read_sections
    from ..core.stacks.report import ALIGNED, CUTS, PAGE, REPORT, TRANSFORM, write_stack
    from ..core.stacks.stack import stack
    from .options import settings_of

    protect_inputs([path], [out / name for name in (ALIGNED, TRANSFORM, REPORT, PAGE, CUTS)])
    sections = read_sections(
        path, axis=options["axis"], spacing_mm=options["spacing"], thickness_mm=options["thickness"]
    )
    engine, _colon, preset = options["engine"].partition(":")
    alignment = {
        "reference": options["reference"],
        "neighbors": options["neighbors"],
        "linear": options["linear"],
        "turn_deg": options["turn"],
        "drift": options["drift"],
    }
    folder = output_folder(out)
    with shown_updates(lambda _update: True, quiet=options["quiet"]) as listener:
        found = stack(
            sections,
            engine=engine,
            preset=preset or "default",
            settings=settings_of(options["settings"]),
            device=options["device"],
            threads=options["threads"],
            seed=options["seed"],
            progress=Progress(listener),
            **alignment,
        )
    used = {**alignment, "engine": options["engine"], "engine_settings": settings_of(options["settings"])}
    report = write_stack(found, folder, used, title=sections.volume.name)
    if options["as_json"]:
        show_json(report)
    elif not options["quiet"]:
        similar = report["similarity"]
        numbers = {
            when: f"mean {similar[when]['mean']}, lowest {similar[when]['lowest']}" for when in ("before", "after")
        }
        show_entries("Similarity of neighboring sections", {**numbers, "report": folder / "report.html"})
        for note in (*sections.volume.notes, *found.notes):
            show_note(note)
    return EXIT_RESULT
