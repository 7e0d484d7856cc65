"""`dvcreg phantom`."""

from __future__ import annotations

from pathlib import Path

import click

from ..core.errors import FileError
from ..core.files import settle
from .folders import job_folder
from .output import show_entries, show_json

TRUTH = "truth.h5"
HELP = """Write a phantom pair: two volumes of one analytic anatomy with segmentations, landmarks and the exact
transform between them (truth.h5); with --frames a 4D volume with landmarks in every frame. The same arguments give the
same files. An earlier phantom in the folder is replaced; other volumes with the same names are not.

\b
Examples:
  dvcreg phantom --out demo
  dvcreg phantom --kind lung --size 128 --seed 3 --out lung
  dvcreg phantom --contrasts t1,t2 --out multimodal
  dvcreg phantom --kind lung --frames 10 --size 64 --out breathing
"""


@click.command("phantom", help=HELP)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write into.")
@click.option("--kind", default="head", show_default=True, help="Anatomy: head or lung.")
@click.option("--size", default=96, show_default=True, help="Number of voxels along each axis, at least 16.")
@click.option("--seed", default=0, show_default=True, help="Seed of the deformation and the noise.")
@click.option("--contrasts", metavar="FIXED,MOVING", help="head: t1 or t2 each; lung: ct.")
@click.option("--frames", default=0, help="lung: a 4D volume of a breathing cycle with this number of frames instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the files as JSON.")
def command(out: Path, kind: str, size: int, seed: int, contrasts: str | None, frames: int, as_json: bool) -> None:
    """Write a phantom pair, or the frames of a breathing cycle."""
    from ..core.phantom.breathing import make_breathing, write_breathing
    from ..core.phantom.phantom import make_phantom, write_phantom

    if frames:
        if kind != "lung" or contrasts:
            raise click.UsageError("--frames is for --kind lung, which has one contrast.")
        breathing = make_breathing(frames, size=size, seed=seed)
        with job_folder(out) as draft:
            files = {role: path.replace(out / path.name) for role, path in write_breathing(breathing, draft).items()}
        _show(files, f"Breathing, {frames} frames of {size} x {size} x {size} voxels", as_json=as_json)
        return
    pair = contrasts.split(",") if contrasts else None
    if pair is not None and len(pair) != 2:
        raise click.UsageError("--contrasts needs two names separated by a comma, such as t1,t2.")
    phantom = make_phantom(kind, size=size, seed=seed, contrasts=(pair[0], pair[1]) if pair else None)
    with job_folder(out) as draft:
        drafts = {role: settle(path) for role, path in write_phantom(phantom, draft).items()}
        _keep_volumes_of_others(out, [path.name for path in drafts.values()])
        files = {role: path.replace(out / path.name) for role, path in drafts.items()}
    _show(files, f"Phantom {kind}, {size} x {size} x {size} voxels", as_json=as_json)


def _show(files: dict[str, Path], title: str, *, as_json: bool) -> None:
    if as_json:
        show_json({role: str(path) for role, path in files.items()})
    else:
        show_entries(title, files)


def _keep_volumes_of_others(out: Path, names: list[str]) -> None:
    """Raise when files to replace are not of an earlier phantom, recognized by its truth.h5."""
    there = [name for name in names if (out / name).exists()]
    if there and TRUTH not in there:
        raise FileError(
            f"{out} already contains {' and '.join(there)}, not written by this command.", hint="Choose another --out."
        )
