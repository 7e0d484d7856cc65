"""`dvcreg transform`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..core.files import protect_inputs, settle
from .folders import whole_file
from .options import FILE
from .output import show_entries, show_note, show_notes

# Same values as core.transforms.files.FORMS, whose import would load the whole library.
FORMS = ("auto", "ras", "lps", "fsl")
HELP = """Apply a transform to an image, to labels, or to points, or convert it.

Transforms of this program map FIXED points to MOVING points (LPS mm), as in ITK. Therefore

\b
  images, labels   of the moving side are resampled on the grid of --reference, the fixed volume;
  points           of the fixed side are mapped to the moving side.

With --inverse the direction is reversed: images of the fixed side are resampled on the grid of --reference, the
moving volume, and points of the moving side are mapped to the fixed side. The inverse of a deformable transform is
computed by iteration. The remaining error is printed; it is large where the transform folds.

An existing output file is replaced when the new one is complete; an input is never overwritten.

Transforms of ITK, ANTs, Slicer, elastix, NiftyReg, c3d, FSL flirt, AFNI, MNI and FreeSurfer are read exactly; a file
that cannot be read exactly gives an error with a hint. A plain matrix needs --transform-form, and a flirt matrix its
two NIfTI images (--fixed, --moving). Without --image, --labels and --points the transform itself is converted and
written to --out.

Segments of a Slicer segmentation, also overlapping ones, keep their names, colors and terminology when --out ends in
.seg.nrrd.

\b
Examples:
  dvcreg transform -t result/transform.h5 --image moving2.nii.gz --reference fixed.nii.gz --out moving2_warped.nii.gz
  dvcreg transform -t result/transform.h5 --labels moving_seg.nrrd --reference fixed.nii.gz --out warped_seg.nrrd
  dvcreg transform -t result/transform.h5 --points tumor_fixed.mrk.json --out tumor_moving.fcsv
  dvcreg transform -t result/transform.h5 --inverse --points moving.csv --out fixed.csv
  dvcreg transform -t flirt.mat --fixed ref.nii.gz --moving in.nii.gz --out start.h5
"""


@click.command("transform", help=HELP)
@click.option("--transform", "-t", "path", type=FILE, required=True, help="Transform or displacement volume.")
@click.option("--image", type=FILE, help="Volume to warp, linear interpolation.")
@click.option("--labels", type=FILE, help="Segmentation to warp, nearest neighbor.")
@click.option("--points", type=FILE, help="Landmarks to map: .csv (x,y,z in LPS mm), .fcsv or .mrk.json.")
@click.option("--reference", type=FILE, help="Volume whose grid is used for the warped image or a written field.")
@click.option("--fill", type=float, help="Value outside the image; default: its background.")
@click.option("--inverse", is_flag=True, help="Use the inverse transform (moving to fixed).")
@click.option(
    "--transform-form",
    "form",
    type=click.Choice(FORMS),
    default="auto",
    show_default=True,
    help="Convention of a plain matrix: ras (c3d, ITK-SNAP, greedy, NiftyReg) or lps, in mm, fixed to moving; or fsl.",
)
@click.option("--fixed", type=FILE, help="NIfTI image that was the -ref of flirt; default: --reference.")
@click.option("--moving", type=FILE, help="NIfTI image that was the -in of flirt; default: the image to warp.")
@click.option("--out", type=FILE, required=True, help="File to write; points: .csv or .fcsv; a transform: .h5.")
@click.option("--quiet", "-q", is_flag=True, help="Print only errors.")
def command(**options: Any) -> None:
    """Apply or convert a transform."""
    given = [name for name in ("image", "labels", "points") if options[name]]
    if len(given) > 1:
        raise click.UsageError("Give at most one of --image, --labels and --points.")
    kind = given[0] if given else "transform"
    if kind in ("image", "labels") and not options["reference"]:
        raise click.UsageError(f"--{kind} needs --reference, the volume that defines the grid of the result.")
    inputs = ("path", "reference", "fixed", "moving", *given)
    protect_inputs(filter(None, (options[name] for name in inputs)), [options["out"]])
    from ..core.transforms.files import read_transform

    transform = read_transform(
        options["path"],
        form=options["form"],
        fixed=options["fixed"] or options["reference"],
        moving=options["moving"] or options["image"] or options["labels"],
    )
    for note in transform.notes:
        show_note(note)
    write = {"points": _points, "transform": _transform}.get(kind, _image)
    with whole_file(options["out"]) as draft:
        about = write(transform, options, draft)
        settle(draft)
    if not options["quiet"]:
        show_entries(str(options["out"]), about)


def _image(transform: Any, options: dict[str, Any], out: Path) -> dict[str, str]:
    from ..core.images.io import read_volume, write_volume
    from ..core.images.resample import warp_volume

    reference = read_volume(options["reference"])
    grid = reference.grid
    show_notes(f"{reference.name}: {note}" for note in reference.notes)
    about = {"grid": f"{grid.size[0]} x {grid.size[1]} x {grid.size[2]} voxels of {options['reference']}"}
    if options["inverse"]:
        transform, about["inverse error"] = _inverted(transform, grid)
    if options["labels"]:
        _labels(transform, grid, options["labels"], out)
    else:
        image = read_volume(options["image"])
        show_notes(image.notes)
        write_volume(warp_volume(image, grid, transform, fill=options["fill"]), out)
    return about


def _labels(transform: Any, grid: Any, path: Path, out: Path) -> None:
    from ..core.images.resample import warp_labels
    from ..core.images.segmentations import NRRD, read_segmentation, write_labels

    segmentation = read_segmentation(path)
    if out.name.lower().endswith(NRRD):
        show_notes((*segmentation.notes, *(note for layer in segmentation.layers for note in layer.notes)))
        write_labels(segmentation.warped(grid, transform), out)
        return
    flat = segmentation.flattened()
    show_notes(flat.notes)
    if flat.segments:
        show_note(f"{out.name} contains label values only; the ending .seg.nrrd also keeps names and colors.")
    write_labels(warp_labels(flat, grid, transform), out)


def _points(transform: Any, options: dict[str, Any], out: Path) -> dict[str, str]:
    from ..core.images.points import read_landmarks, write_points
    from ..core.transforms.invert import invert_points

    if options["reference"]:
        show_note("Points need no --reference; it was not used.")
    landmarks = read_landmarks(options["points"])
    show_notes(landmarks.notes)
    points = landmarks.points_mm
    about = {"points": f"{len(points)}, fixed to moving"}
    if options["inverse"]:
        mapped, residual = invert_points(transform, points)
        about = {
            "points": f"{len(points)}, moving to fixed",
            "inverse error": f"mean {residual.mean():.4f} mm, largest {residual.max():.4f} mm",
        }
        if residual.max() > 1:
            show_note("The transform cannot be inverted accurately at some points; it may fold there.")
    else:
        mapped = transform.apply(points)
    write_points(mapped, out, names=landmarks.placed_names)
    return about


def _transform(transform: Any, options: dict[str, Any], out: Path) -> dict[str, str]:
    """Write the transform itself, in the format of the output's ending."""
    from ..core.images.io import read_volume
    from ..core.transforms.files import write_transform
    from ..core.transforms.transform import Transform

    grid = read_volume(options["reference"]).grid if options["reference"] else None
    about = {"transform": "moving to fixed" if options["inverse"] else "fixed to moving, LPS mm"}
    if options["inverse"] and transform.affine is not None:
        transform = Transform((transform.affine.inverse(),))
    elif options["inverse"]:
        if grid is None:
            raise click.UsageError("The inverse of a deformable transform needs --reference, the moving volume.")
        transform, about["inverse error"] = _inverted(transform, grid)
    write_transform(transform, out, grid=grid)
    return about


def _inverted(transform: Any, grid: Any) -> tuple[Any, str]:
    from ..core.transforms.invert import invert

    inverse = invert(transform, grid)
    return inverse.transform, f"mean {inverse.residual_mean_mm:.3f} mm, largest {inverse.residual_max_mm:.3f} mm"
