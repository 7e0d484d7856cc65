"""`dvcreg evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..core.files import protect_inputs
from .options import FILE, inputs_of, pair_options
from .output import show_json, show_notes, show_verdict
from .tables import show_measures

HELP = """Measure how well a transform aligns the moving volume with the fixed volume.

The transform maps fixed to moving points (LPS mm); it can be a file of this program, ANTs, elastix, Slicer or
SimpleITK. Without --transform the pair is measured unchanged. Segmentations give Dice and surface distances (mm),
landmarks the target registration error (mm), intensities mutual information and correlation, the transform its folds.
With a transform the verdict is printed (good, check or bad) with all failed checks. The confidence of the linear
alignment is reported by `dvcreg register` only.

\b
Examples:
  dvcreg evaluate --fixed f.nii.gz --moving m.nii.gz --transform result/transform.h5 --fixed-seg fs.nii.gz \\
      --moving-seg ms.nii.gz
  dvcreg evaluate --fixed f.nii.gz --moving m.nii.gz --fixed-points fp.csv --moving-points mp.csv --json
"""


@click.command("evaluate", help=HELP)
@pair_options(initial=False)
@click.option("--transform", "-t", type=FILE, help="Transform to evaluate; default: the identity.")
@click.option("--out", "-o", type=FILE, help="JSON file for the measures.")
@click.option("--threads", default=0, show_default=True, help="Maximum CPU threads; 0 for all cores.")
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON instead of a table.")
def command(**options: Any) -> None:
    """Evaluate a transform."""
    from ..core.api import load_pair
    from ..core.evaluation.evaluate import evaluate
    from ..core.evaluation.make_report import judged
    from ..core.evaluation.report import Report, write_report_json
    from ..core.files import jsonable
    from ..core.images.notes import is_unsound
    from ..core.pair import reader_notes
    from ..core.transforms.files import read_transform
    from ..core.transforms.transform import Transform

    inputs = inputs_of(options)
    if options["out"]:
        protect_inputs(map(Path, filter(None, (*inputs.values(), options["transform"]))), [options["out"]])
    pair = load_pair(inputs.pop("fixed"), inputs.pop("moving"), **inputs)
    images = {"fixed": options["fixed"], "moving": options["moving"]}
    transform = read_transform(options["transform"], **images) if options["transform"] else Transform()
    found = evaluate(pair, transform, threads=options["threads"])
    notes = [*reader_notes(pair), *transform.notes, *found.notes]
    content = jsonable(
        {
            "transform": options["transform"],
            "measures": {"before": found.before, "after": found.after},
            "labels_scored": found.labels,
            "region": found.region,
            "notes": notes,
            "unsound": [note for note in notes if is_unsound(note)],
        }
    )
    report = Report.from_json(content)
    if options["transform"]:
        report = judged(report)
        content["verdict"] = report.to_json()["verdict"]
    if options["out"]:
        write_report_json(Path(options["out"]), content)
    if options["as_json"]:
        show_json(content)
    else:
        show_measures(report)
    show_notes(notes)
    show_verdict(report.verdict)
