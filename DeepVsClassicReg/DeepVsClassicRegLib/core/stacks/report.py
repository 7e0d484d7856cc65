"""The results of an aligned stack: volume, transforms, measures as JSON, cuts as a picture, and a page with both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..evaluation.pages import Page
from ..evaluation.plotting import AFTER, BEFORE, EXTENT, INK, PANEL, data_uri, new_figure, png_bytes, tidy
from ..files import jsonable, write_bytes, write_json, write_text
from ..images.channels import Channels, is_color
from ..images.io import write_channels, write_volume
from ..transforms.files import write_transform
from .align import AlignedStack

WIDTH_IN = 9.0
CLIP = (0.5, 99.8)
ALIGNED, TRANSFORM, REPORT, PAGE, CUTS = "aligned.nrrd", "transform.h5", "report.json", "report.html", "cuts.png"


def write_stack(
    stack: AlignedStack, folder: Path, settings: Mapping[str, Any], *, title: str, page: bool = True
) -> dict[str, Any]:
    """Write an aligned stack into a folder and return its report.

    The files are those of `ALIGNED` (all channels of color sections), `TRANSFORM` (all sections, aligned to original
    points, LPS mm) and `REPORT`, with `page` also `PAGE`, `CUTS` (matplotlib and Jinja2) and
    transforms/section_0000.h5 and so on.

    Parameters
    ----------
    stack, settings
        As for `stack_report`.
    folder : Path
        Created when it does not exist.
    title : str
        Title of the page.
    page : bool
        Whether the page, its picture and the transforms of single sections are written too.

    Raises
    ------
    FileError
        When a file cannot be written.
    """
    report = stack_report(stack, settings)
    folder.mkdir(parents=True, exist_ok=True)
    if stack.channels is None:
        write_volume(stack.volume, folder / ALIGNED)
    else:
        write_channels(Channels(stack.channels, stack.volume.grid, title), folder / ALIGNED)
    write_transform(stack.whole, folder / TRANSFORM)
    if page:
        transforms = folder / "transforms"
        transforms.mkdir(exist_ok=True)
        for number in range(len(stack.names)):
            write_transform(stack.transform(number), transforms / f"section_{number:04d}.h5")
        write_text(folder / PAGE, stack_page(stack, report, title=title))
        write_bytes(folder / CUTS, png_bytes(cuts(stack)))
    write_json(folder / REPORT, report)
    return report


def stack_report(stack: AlignedStack, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the measures of an aligned stack as plain JSON values.

    Parameters
    ----------
    stack : AlignedStack
        The stack.
    settings : mapping
        Settings of the alignment and of the engine, for the report.
    """
    lengths = np.linalg.norm(stack.maps_px, axis=1).mean(axis=(1, 2))
    return jsonable(
        {
            "sections": len(stack.names),
            "reference": stack.reference,
            "settings": dict(settings),
            "seconds": round(stack.seconds, 2),
            "similarity": {
                "measure": "correlation of sections k and k + 1",
                "before": _summary(stack.similarity_before),
                "after": _summary(stack.similarity_after),
            },
            "poor_sections": list(stack.poor),
            "notes": list(stack.notes),
            "per_section": [
                {
                    "name": name,
                    "mean_motion_px": round(float(lengths[number]), 3),
                    "similarity_to_next_before": _number(stack.similarity_before, number),
                    "similarity_to_next_after": _number(stack.similarity_after, number),
                }
                for number, name in enumerate(stack.names)
            ],
        }
    )


def stack_page(stack: AlignedStack, report: Mapping[str, Any], *, title: str) -> str:
    """Return the report as one HTML page with its pictures."""
    page = Page("stack.html")
    return page.filled(
        {
            "title": title,
            "report": report,
            "cuts": data_uri(cuts(stack)),
            "curve": data_uri(_curve(stack), photo=False),
        }
    )


def cuts(stack: AlignedStack) -> Any:
    """Return the picture of two cuts across the sections, before and after, in the volume's proportions and colors."""
    rows = _cuts_of(stack)
    x, y, z = stack.volume.grid.extent_mm
    figure = new_figure(WIDTH_IN, WIDTH_IN * 2 * z / (x + y) + 0.9, dark=True)
    grid = figure.add_gridspec(2, 2, width_ratios=(x, y), left=0.01, right=0.99, bottom=0.01, top=0.93, wspace=0.03)
    low, high = np.percentile(stack.before.array, CLIP)
    for row, (name, pictures) in enumerate(rows.items()):
        for column, (picture, across) in enumerate(zip(pictures, ("x", "y"), strict=True)):
            axes = figure.add_subplot(grid[row, column])
            size = (x, y)[column]
            axes.imshow(picture, cmap="gray", vmin=low, vmax=high, **{**EXTENT, "extent": (0, size, 0, z)})
            axes.set_title(f"{name}, along {across} and the stack", color=INK, fontsize=9)
            axes.set_axis_off()
    figure.set_facecolor(PANEL)
    return figure


def _cuts_of(stack: AlignedStack) -> dict[str, list[npt.NDArray[Any]]]:
    before: npt.NDArray[Any] = stack.before.array
    after: npt.NDArray[Any] = stack.volume.array
    y, x = (size // 2 for size in after.shape[1:])
    colors = stack.channels
    if colors is not None and stack.channels_before is not None and is_color(colors) and colors.shape[-1] > 2:
        most = np.iinfo(colors.dtype).max
        before, after = (array[..., :3] / most for array in (stack.channels_before, colors))
    return {name: [array[::-1, y], array[::-1, :, x]] for name, array in (("Before", before), ("After", after))}


def _curve(stack: AlignedStack) -> Any:
    figure = new_figure(WIDTH_IN, 2.8)
    axes = figure.add_axes((0.08, 0.2, 0.9, 0.72))
    number = np.arange(len(stack.similarity_before))
    axes.plot(number, stack.similarity_before, color=BEFORE, label="Before")
    axes.plot(number, stack.similarity_after, color=AFTER, label="After")
    axes.set_xlabel("Section")
    axes.set_ylabel("Correlation with the next")
    axes.legend(frameon=False)
    tidy(axes)
    return figure


def _summary(values: npt.NDArray[np.floating]) -> dict[str, float]:
    return {
        "mean": round(float(values.mean()), 4),
        "median": round(float(np.median(values)), 4),
        "lowest": round(float(values.min()), 4),
    }


def _number(values: npt.NDArray[np.floating], number: int) -> float | None:
    return round(float(values[number]), 4) if number < len(values) else None
