"""`dvcreg info`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .describe import describe
from .output import show_entries, show_json, show_note

HELP = """Describe the content of volumes, segmentations, transforms and landmark files, and check that they are usable.

\b
For a volume it prints size (voxels along i, j, k), spacing and field of view (mm), origin (LPS mm), the patient
directions of the axes (LPS: i toward left, j toward posterior, k toward superior), and intensities or labels.

\b
Examples:
  dvcreg info fixed.nii.gz moving.nii.gz
  dvcreg info result/transform.h5 --json
  dvcreg info study --series 4
"""


@click.command("info", help=HELP)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--series", help="Series of a DICOM folder with several: number, UID or description.")
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON.")
def command(files: tuple[Path, ...], series: str | None, as_json: bool) -> None:
    """Describe files."""
    if series:
        files = tuple(path.with_name(f"{path.name}#{series}") if path.is_dir() else path for path in files)
    found: dict[str, dict[str, Any]] = {str(path): describe(path) for path in files}
    if as_json:
        show_json(found)
        return
    for path, about in found.items():
        warnings = about.pop("warnings", [])
        show_entries(path, {name.replace("_", " "): _shown(value) for name, value in about.items()})
        for warning in warnings:
            show_note(warning)


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        if value and isinstance(value[0], (list, tuple)):
            return "; ".join(_shown(row) for row in value)
        return ", ".join(_shown(entry) for entry in value)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_shown(entry)}" for name, entry in value.items())
    return str(value)
