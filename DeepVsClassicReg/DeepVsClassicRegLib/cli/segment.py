"""`dvcreg segment`."""

from __future__ import annotations

from typing import Any

import click

from ..core.files import protect_inputs, settle
from ..core.job import SEGMENTATION_ENDING
from .folders import whole_file
from .options import FILE
from .output import show_entries, show_json, show_note, show_notes

HELP = """Segment a volume with a trained network, where there is no segmentation yet.

The bundled model finds brain structures with FreeSurfer's numbers, names and colors in MR volumes of any contrast, with
or without skull. The result is an estimate, not a drawing: names in .seg.nrrd files are tagged with the model. PyTorch
is needed.

\b
Examples:
  dvcreg segment head.nii.gz --out head.seg.nrrd
  dvcreg segment head.nii.gz --model my-segmenter/model --out head_labels.nii.gz --json
"""


@click.command("segment", help=HELP)
@click.argument("volume", type=FILE)
@click.option("--out", "-o", type=FILE, required=True, help="Segmentation to write: .seg.nrrd, .nii.gz, ...")
@click.option(
    "--model",
    default="auto",
    show_default=True,
    help="Model of the kind 'segmentation', by name or folder; auto: the one that ships.",
)
@click.option("--series", help="Series of a DICOM folder with several: number, UID or description.")
@click.option("--threads", default=0, show_default=True, help="Maximum CPU threads; 0 for all cores.")
@click.option("--device", type=click.Choice(("auto", "cpu", "cuda", "mps")), default="auto", show_default=True)
@click.option("--quiet", "-q", is_flag=True, help="Print only errors and notes.")
@click.option("--json", "as_json", is_flag=True, help="Print the volumes of the structures as JSON.")
def command(**options: Any) -> None:
    """Segment a volume."""
    from ..core.api import segment
    from ..core.images.io import read_volume, write_labels

    path, out = options["volume"], options["out"]
    protect_inputs([path], [out])
    volume = read_volume(f"{path}#{options['series']}" if options["series"] else path)
    labels = segment(volume, model=options["model"], device=options["device"], threads=options["threads"])
    with whole_file(out) as draft:
        write_labels(labels, draft)
        settle(draft)
    if not out.name.lower().endswith(SEGMENTATION_ENDING):
        show_note(f"{out.name} contains label values only; the ending .seg.nrrd also keeps names and colors.")
    show_notes((*volume.notes, *labels.notes))
    sizes = structure_volumes_ml(labels)
    if options["as_json"]:
        show_json({"model": options["model"], "out": str(out), "volumes_ml": sizes})
    elif not options["quiet"]:
        show_entries(str(out), {name: f"{size:.1f} ml" for name, size in sizes.items()})


def structure_volumes_ml(labels: Any) -> dict[str, float]:
    """Return the volume of every structure that was found, by name."""
    import numpy as np

    counts = np.bincount(labels.array.ravel())
    unit = labels.grid.voxel_volume_mm3 / 1000
    return {labels.names.get(value, str(value)): round(float(counts[value] * unit), 3) for value in labels.labels}
