"""`dvcreg transform`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..core.files import protect_inputs, settle
from .folders import whole_file
from .options import FILE
from .output import show_entries, show_note

HELP = """Apply a transform to an image, to labels, or to points.

A transform of this program maps FIXED points to MOVING points (LPS mm), as resampling needs it. So

\b
  images, labels   of the moving side come onto the grid of --reference, the fixed volume;
  points           of the fixed side become points of the moving side.

With --inverse everything goes the other way: images of the fixed side come onto the grid of --reference, the moving
volume, and points of the moving side become points of the fixed side. An inverse of a deformable transform is found
by iteration; the error that was left is told, and it is large where the transform folds.

A file that is there already is replaced once the new one is whole; an input is never overwritten.

\b
Examples:
  dvcreg transform -t result/transform.h5 --image moving2.nii.gz --reference fixed.nii.gz --out moving2_warped.nii.gz
  dvcreg transform -t result/transform.h5 --labels moving_seg.nrrd --reference fixed.nii.gz --out warped_seg.nrrd
  dvcreg transform -t result/transform.h5 --points tumor_fixed.mrk.json --out tumor_moving.fcsv
  dvcreg transform -t result/transform.h5 --inverse --points moving.csv --out fixed.csv
"""


@click.command("transform", help=HELP)
@click.option("--transform", "-t", "path", type=FILE, required=True, help="Transform or displacement volume.")
@click.option("--image", type=FILE, help="Volume to warp, linear interpolation.")
@click.option("--labels", type=FILE, help="Segmentation to warp, nearest neighbor.")
@click.option("--points", type=FILE, help="Landmarks to map: .csv (x,y,z in LPS mm), .fcsv or .mrk.json.")
@click.option("--reference", type=FILE, help="Volume whose grid the warped image gets.")
@click.option("--fill", type=float, help="Value outside the image; its background when not given.")
@click.option("--inverse", is_flag=True, help="Use the inverse transform (moving to fixed).")
@click.option("--out", type=FILE, required=True, help="File to write; points: .csv or .fcsv.")
@click.option("--quiet", "-q", is_flag=True, help="Show nothing but errors.")
def command(**options: Any) -> None:
    """Apply a transform."""
    given = [name for name in ("image", "labels", "points") if options[name]]
    if len(given) != 1:
        raise click.UsageError("Give exactly one of --image, --labels and --points.")
    if given[0] != "points" and not options["reference"]:
        raise click.UsageError(f"--{given[0]} needs --reference, the volume whose grid the result shall have.")
    protect_inputs(filter(None, (options[name] for name in ("path", "reference", *given))), [options["out"]])
    from ..core.transforms.files import read_transform

    transform = read_transform(options["path"])
    with whole_file(options["out"]) as draft:
        about = (
            _points(transform, options, draft) if given[0] == "points" else _image(transform, options, given[0], draft)
        )
        settle(draft)
    if not options["quiet"]:
        show_entries(str(options["out"]), about)


def _image(transform: Any, options: dict[str, Any], kind: str, out: Path) -> dict[str, str]:
    from ..core.images.io import read_volume, write_volume
    from ..core.images.resample import warp_labels, warp_volume
    from ..core.images.segmentations import read_labels
    from ..core.transforms.transform import invert

    grid = read_volume(options["reference"]).grid
    about = {"grid": f"{grid.size[0]} x {grid.size[1]} x {grid.size[2]} voxels of {options['reference']}"}
    if options["inverse"]:
        inverse = invert(transform, grid)
        transform = inverse.transform
        about["inverse error"] = f"mean {inverse.residual_mean_mm:.3f} mm, largest {inverse.residual_max_mm:.3f} mm"
    if kind == "labels":
        write_volume(warp_labels(read_labels(options["labels"]), grid, transform), out)
    else:
        image = read_volume(options["image"])
        write_volume(warp_volume(image, grid, transform, fill=options["fill"]), out)
    return about


def _points(transform: Any, options: dict[str, Any], out: Path) -> dict[str, str]:
    from ..core.images.points import read_points
    from .points import mapped_back, write_any_points

    if options["reference"]:
        show_note("Points need no --reference; it was not used.")
    points = read_points(options["points"])
    about = {"points": f"{len(points)}, fixed to moving"}
    if options["inverse"]:
        mapped, residual = mapped_back(transform, points)
        about = {
            "points": f"{len(points)}, moving to fixed",
            "inverse error": f"mean {residual.mean():.4f} mm, largest {residual.max():.4f} mm",
        }
        if residual.max() > 1:
            show_note("The transform cannot be inverted well at some points; it may fold there.")
    else:
        mapped = transform.apply(points)
    write_any_points(mapped, out)
    return about
