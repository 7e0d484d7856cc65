"""The page of a comparison, drawn from the files the runs left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.api import load_pair
from ..core.evaluation.comparison import write_comparison_html
from ..core.evaluation.evaluate import Evaluation
from ..core.images.io import read_volume
from ..core.images.segmentations import read_labels
from ..core.job import OUTPUTS, WARPED_SEGMENTATION
from ..core.result import Diagnostics, Result
from ..core.transforms.files import read_transform
from .comparing import Run


def write_page(path: Path, inputs: Mapping[str, str], runs: Sequence[Run]) -> Path:
    """Write comparison.html out of the inputs and the folders of the runs.

    Raises
    ------
    RegistrationError
        When matplotlib or jinja2 is missing, or a file cannot be read or written.
    """
    files: dict[str, Any] = dict(inputs)
    pair = load_pair(files.pop("fixed"), files.pop("moving"), **files)
    finished = {run.name: (_result(run), _evaluation(run)) for run in runs if run.ok}
    pages = {run.name: run.folder / OUTPUTS["html"] for run in runs if run.ok}
    links = {name: f"{page.parent.name}/{page.name}" for name, page in pages.items() if page.exists()}
    failures = {run.name: f"{run.reason} {run.hint}".strip() for run in runs if not run.ok}
    return write_comparison_html(path, pair, finished, links=links, failures=failures)


def _result(run: Run) -> Result:
    transform = read_transform(run.folder / OUTPUTS["transform"])
    return Result(
        transform,
        Diagnostics.from_json(run.report),
        engine=run.engine,
        preset=run.preset,
        settings=run.report["settings"],
    )


def _evaluation(run: Run) -> Evaluation:
    columns = run.report["measures"]
    names = (OUTPUTS["warped_labels"], WARPED_SEGMENTATION)
    labels = next((run.folder / name for name in names if (run.folder / name).exists()), None)
    return Evaluation(
        before=columns["before"],
        after=columns["after"],
        start=columns.get("start"),
        warped=read_volume(run.folder / OUTPUTS["warped"]),
        warped_labels=read_labels(labels) if labels else None,
        jacobian=read_volume(run.folder / OUTPUTS["jacobian"]),
        labels=tuple(run.report["labels_scored"]),
        region=run.report["region"],
        seconds=run.report["evaluation_seconds"],
    )
