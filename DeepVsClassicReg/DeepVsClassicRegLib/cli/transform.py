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
HELP = """Apply a transform to an image, to labels, to points or to a surface, or convert it.

Transforms of this program map FIXED points to MOVING points (LPS mm), as in ITK. --to names the side on which the
object is wanted, whatever it is:

\b
  --to fixed    an object of the moving side is brought to the fixed side. Images and labels are resampled on the grid
                of --reference, the fixed volume; points and surfaces are mapped by the inverse transform.
  --to moving   an object of the fixed side is brought to the moving side. Images and labels are resampled with the
                inverse transform on the grid of --reference, the moving volume; points and surfaces are mapped by the
                transform.

Without --to, the transform itself is applied: images and labels to the fixed side, points and surfaces to the moving
side; --inverse reverses both. The inverse of a deformable transform is computed by iteration, and the remaining error
is printed. Notes tell where the transform folds or is extrapolated and, with --reference, what lies outside of it.

An existing output file is replaced when the new one is complete; an input is never overwritten.

Surfaces (.vtk, .vtp, .ply, .stl, .obj) need the package vtk. Their coordinate system is read from the file (SPACE=LPS
or SPACE=RAS, as Slicer writes it); LPS is assumed and noted otherwise, and written. Of points, .fcsv and .mrk.json
state their coordinate system, x,y,z of a .csv are LPS. Curves, lines and angles stay such from .mrk.json to .mrk.json.

Transforms of ITK, ANTs, Slicer, elastix, NiftyReg, c3d, FSL flirt, AFNI, MNI, FreeSurfer and DICOM are read exactly; a
file that cannot be read exactly gives an error with a hint. A plain matrix needs --transform-form, and a flirt matrix
its two NIfTI images (--fixed, --moving). Without an object the transform itself is converted and written to --out.

With --out in .dcm, a DICOM Spatial Registration or (deformable transforms) Deformable Spatial Registration object is
written; --fixed and --moving are then the DICOM files or folders (folder#SERIES) of both volumes, whose frames of
reference it connects. Objects of both kinds are read as --transform.

Segments of a Slicer segmentation, also overlapping ones, keep their names, colors and terminology when --out ends in
.seg.nrrd.

\b
Examples:
  dvcreg transform -t result/transform.h5 --image moving2.nii.gz --reference fixed.nii.gz --out moving2_warped.nii.gz
  dvcreg transform -t result/transform.h5 --labels moving_seg.nrrd --reference fixed.nii.gz --out warped_seg.nrrd
  dvcreg transform -t result/transform.h5 --to fixed --surface moving_liver.stl --out liver_on_fixed.stl
  dvcreg transform -t result/transform.h5 --to moving --points tumor_fixed.mrk.json --out tumor_moving.mrk.json
  dvcreg transform -t result/transform.h5 --inverse --points moving.csv --out fixed.csv
  dvcreg transform -t result/transform.h5 --fixed ct_folder --moving mr_folder --out registration.dcm
  dvcreg transform -t flirt.mat --fixed ref.nii.gz --moving in.nii.gz --out start.h5
"""
DICOM = ".dcm"
OBJECTS = ("image", "labels", "points", "surface")
RESAMPLED = ("image", "labels")


@click.command("transform", help=HELP)
@click.option("--transform", "-t", "path", type=FILE, required=True, help="Transform or displacement volume.")
@click.option("--image", type=FILE, help="Volume to warp, linear interpolation.")
@click.option("--labels", type=FILE, help="Segmentation to warp, see --interpolation.")
@click.option("--points", type=FILE, help="Points or a curve: .csv (x,y,z in LPS mm), .fcsv or .mrk.json.")
@click.option("--surface", type=FILE, help="Surface or mesh to map: .vtk, .vtp, .ply, .stl or .obj.")
@click.option("--to", type=click.Choice(("fixed", "moving")), help="Side on which the object is wanted.")
@click.option("--reference", type=FILE, help="Volume whose grid is used for the warped image or a written field.")
@click.option("--fill", type=float, help="Value outside the image; default: its background.")
@click.option(
    "--interpolation",
    type=click.Choice(("nearest", "smooth")),
    default="nearest",
    show_default=True,
    help="Of labels: nearest neighbor, or the largest linearly interpolated membership.",
)
@click.option("--inverse", is_flag=True, help="Use the inverse transform (moving to fixed).")
@click.option(
    "--transform-form",
    "form",
    type=click.Choice(FORMS),
    default="auto",
    show_default=True,
    help="Convention of a plain matrix: ras (c3d, ITK-SNAP, greedy, NiftyReg) or lps, in mm, fixed to moving; or fsl.",
)
@click.option(
    "--fixed",
    type=FILE,
    help="NIfTI image that was the -ref of flirt (default: --reference); the DICOM series for a DICOM object.",
)
@click.option(
    "--moving",
    type=FILE,
    help="NIfTI image that was the -in of flirt (default: the image); the DICOM series for a DICOM object.",
)
@click.option("--out", type=FILE, required=True, help="File to write, in the format of its ending; a transform: .h5.")
@click.option("--quiet", "-q", is_flag=True, help="Print only errors.")
def command(**options: Any) -> None:
    """Apply or convert a transform."""
    given = [name for name in OBJECTS if options[name]]
    _check_options(options, given)
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
    with whole_file(options["out"]) as draft:
        about = _apply(transform, given[0], options, draft) if given else _transform(transform, options, draft)
        settle(draft)
    if not options["quiet"]:
        show_entries(str(options["out"]), about)


def _check_options(options: dict[str, Any], given: list[str]) -> None:
    """Raise a usage error for options that exclude or need others."""
    if len(given) > 1:
        raise click.UsageError("Give at most one of --image, --labels, --points and --surface.")
    if given and given[0] in RESAMPLED and not options["reference"]:
        raise click.UsageError(f"--{given[0]} needs --reference, the volume that defines the grid of the result.")
    if options["to"] and (options["inverse"] or not given):
        raise click.UsageError("--to is for an object, and not together with --inverse: it determines the direction.")


def _apply(transform: Any, kind: str, options: dict[str, Any], out: Path) -> dict[str, str]:
    """Bring the object of a kind to the other side and write it."""
    from ..core.images.io import read_volume
    from ..core.transforms.sides import SideChange

    forward = "fixed" if kind in RESAMPLED else "moving"
    backward = "moving" if kind in RESAMPLED else "fixed"
    to = options["to"] or (backward if options["inverse"] else forward)
    grid = None
    if options["reference"]:
        reference = read_volume(options["reference"])
        grid = reference.grid
        show_notes(f"{reference.name}: {note}" for note in reference.notes)
    change = SideChange(transform, to, grid)
    about = {"image": _image, "labels": _labels, "points": _points, "surface": _surface}[kind](change, options, out)
    if kind in RESAMPLED:
        size = change.view.size
        about["grid"] = f"{size[0]} x {size[1]} x {size[2]} voxels of {options['reference']}"
        if to == "moving":
            inverse = change.inverse
            about["inverse error"] = _error_text(inverse.residual_mean_mm, inverse.residual_max_mm)
    return about


def _image(change: Any, options: dict[str, Any], out: Path) -> dict[str, str]:
    from ..core.images.channels import Channels
    from ..core.images.io import read_channels, read_volume, write_channels, write_volume

    colored = read_channels(options["image"])
    if colored is not None:
        _show_problems(change, change.check_volume(colored.grid), options)
        write_channels(Channels(change.channels(colored.array, colored.grid), change.view), out)
        return {"channels": str(colored.array.shape[-1])}
    image = read_volume(options["image"])
    show_notes(image.notes)
    _show_problems(change, change.check_volume(image.grid), options)
    write_volume(change.volume(image, fill=options["fill"]), out)
    return {}


def _labels(change: Any, options: dict[str, Any], out: Path) -> dict[str, str]:
    from ..core.images.io import NRRD, read_segmentation, write_labels

    segmentation, interpolation = read_segmentation(options["labels"]), options["interpolation"]
    flat = segmentation.flattened()
    _show_problems(change, change.check_labels(flat), options)
    if out.name.lower().endswith(NRRD):
        show_notes((*segmentation.notes, *(note for layer in segmentation.layers for note in layer.notes)))
        write_labels(segmentation.each(lambda layer: change.labels(layer, interpolation)), out)
        return {}
    show_notes(flat.notes)
    if flat.segments:
        show_note(f"{out.name} contains label values only; the ending .seg.nrrd also keeps names and colors.")
    write_labels(change.labels(flat, interpolation), out)
    return {}


def _points(change: Any, options: dict[str, Any], out: Path) -> dict[str, str]:
    from ..core.images.points import is_markup, read_landmarks, write_markup, write_points

    landmarks = read_landmarks(options["points"])
    show_notes(landmarks.notes)
    mapped, checked = change.points(landmarks.points_mm)
    _show_problems(change, checked, options)
    if is_markup(options["points"]) and is_markup(out):
        write_markup(landmarks, mapped, options["points"], out)
    else:
        write_points(mapped, out, names=landmarks.placed_names)
    return _about_points(change, checked, "points")


def _surface(change: Any, options: dict[str, Any], out: Path) -> dict[str, str]:
    from ..core.images.surfaces import read_surface, write_surface

    surface = read_surface(options["surface"])
    show_notes(surface.notes)
    mapped, checked = change.points(surface.points_mm)
    _show_problems(change, checked, options)
    write_surface(surface.moved(mapped), out)
    return {**_about_points(change, checked, "vertices"), "coordinates": f"LPS, read as {surface.system}"}


def _about_points(change: Any, checked: Any, what: str) -> dict[str, str]:
    direction = "moving to fixed" if change.to == "fixed" else "fixed to moving"
    about = {what: f"{checked.count}, {direction}"}
    if change.to == "fixed":
        about["inverse error"] = _error_text(checked.inverse_error_mean_mm, checked.inverse_error_mm)
    return about


def _show_problems(change: Any, checked: Any, options: dict[str, Any]) -> None:
    view = options["reference"].name if options["reference"] else f"the {change.to} volume"
    show_notes(checked.notes(view))


def _error_text(mean_mm: float, largest_mm: float) -> str:
    return f"mean {mean_mm:.4f} mm, largest {largest_mm:.4f} mm"


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
    if out.name.lower().endswith(DICOM):
        return {**about, **_dicom(transform, options, grid, out)}
    write_transform(transform, out, grid=grid)
    return about


def _dicom(transform: Any, options: dict[str, Any], grid: Any, out: Path) -> dict[str, str]:
    """Write a DICOM registration object that refers to the frames of reference of both series."""
    from ..core.images.dicom_frame import read_dicom_frame
    from ..core.transforms.dicom_files import write_dicom_registration

    if not (options["fixed"] and options["moving"]):
        raise click.UsageError("A DICOM object needs --fixed and --moving, the DICOM series of both volumes.")
    fixed, moving = (read_dicom_frame(options[side]) for side in ("fixed", "moving"))
    written = write_dicom_registration(transform, out, fixed=fixed, moving=moving, grid=grid)
    return {
        "object": written.kind,
        "frames of reference": f"fixed {fixed.uid}, moving {moving.uid}",
        "difference": f"largest {written.difference_mm:.4f} mm when read back",
    }


def _inverted(transform: Any, grid: Any) -> tuple[Any, str]:
    from ..core.transforms.invert import invert

    inverse = invert(transform, grid)
    return inverse.transform, _error_text(inverse.residual_mean_mm, inverse.residual_max_mm)
