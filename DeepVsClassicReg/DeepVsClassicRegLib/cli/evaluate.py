"""`dvcreg evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..core.files import protect_inputs
from .options import FILE, error_model_option, estimate_option, inputs_of, pair_options
from .output import show_json, show_measures, show_notes, show_places, show_verdict

HELP = """Measure how well a transform aligns the moving volume with the fixed volume.

The transform maps fixed to moving points (LPS mm); it can be a file of this program, ANTs, elastix, Slicer or
SimpleITK. Without --transform the pair is measured unchanged. Segmentations give Dice and surface distances (mm),
landmarks the target registration error (mm), intensities mutual information and correlation, the transform its folds.
With a transform the verdict is printed (good, check or bad) with all failed checks. The confidence of the linear
alignment is reported by `dvcreg register` only.

--error-map estimates the error at every place without any truth, from both volumes, by a network (PyTorch is needed).
It says how large the errors are and where the largest is; --error-map=FILE also writes the map (mm, 0 where nothing is
known). It cannot be trusted in areas without structure, nor where the anatomies differ.

\b
Examples:
  dvcreg evaluate --fixed f.nii.gz --moving m.nii.gz --transform result/transform.h5 --fixed-seg fs.nii.gz \\
      --moving-seg ms.nii.gz
  dvcreg evaluate --fixed f.nii.gz --moving m.nii.gz --fixed-points fp.csv --moving-points mp.csv --json
  dvcreg evaluate --fixed f.nii.gz --moving m.nii.gz --transform result/transform.h5 --error-map=error.nii.gz
"""


@click.command("evaluate", help=HELP)
@pair_options(initial=False)
@click.option("--transform", "-t", type=FILE, help="Transform to evaluate; default: the identity.")
@click.option("--out", "-o", type=FILE, help="JSON file for the measures.")
@click.option(
    "--error-map",
    is_flag=False,
    flag_value="",
    metavar="[=FILE]",
    help="Estimate the error at every place by a network; FILE gets the map.",
)
@error_model_option
@estimate_option
@click.option("--threads", default=0, show_default=True, help="Maximum CPU threads; 0 for all cores.")
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON instead of a table.")
def command(**options: Any) -> None:
    """Evaluate a transform."""
    from ..core.api import estimate_error, load_pair
    from ..core.engines.segmentation import with_estimated_labels
    from ..core.evaluation.evaluate import evaluate
    from ..core.evaluation.make_report import judged
    from ..core.evaluation.report import Report, write_report_json
    from ..core.files import jsonable
    from ..core.images.io import write_volume
    from ..core.images.volume import is_marked, is_unsound
    from ..core.pair import reader_notes
    from ..core.transforms.files import read_transform
    from ..core.transforms.transform import Transform

    inputs = inputs_of(options)
    wants_map = options["error_map"] is not None
    written = [Path(path) for path in (options["out"], options["error_map"]) if path]
    if written:
        protect_inputs(map(Path, filter(None, (*inputs.values(), options["transform"]))), written)
    pair = load_pair(inputs.pop("fixed"), inputs.pop("moving"), **inputs)
    if options["estimate_segs"]:
        pair = with_estimated_labels(pair, model=options["estimate_segs"], threads=options["threads"])
    images = {"fixed": options["fixed"], "moving": options["moving"]}
    transform = read_transform(options["transform"], **images) if options["transform"] else Transform()
    threads = options["threads"]
    estimate = estimate_error(pair, transform, model=options["error_model"], threads=threads) if wants_map else None
    found = evaluate(pair, transform, error_map=estimate, threads=threads)
    notes = [*reader_notes(pair), *transform.notes, *found.notes]
    sides = {"fixed_labels": pair.fixed_labels, "moving_labels": pair.moving_labels}
    content = jsonable(
        {
            "transform": options["transform"],
            "measures": {"before": found.before, "after": found.after},
            "labels_scored": found.labels,
            "region": found.region,
            "look_at": [place.to_json() for place in found.look_at] if wants_map else [],
            "inputs": {role: {"estimated": True} for role, labels in sides.items() if labels and is_marked(labels)},
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
    if estimate is not None and options["error_map"]:
        write_volume(estimate.volume, options["error_map"])
    if options["as_json"]:
        show_json(content)
    else:
        show_measures(report)
        if estimate is not None:
            show_places(found.locations.error)
    show_notes(notes)
    show_verdict(report)
