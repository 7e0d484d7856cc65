"""cohort.html: montage, verdicts, distributions and a table of a cohort, with sorting and filters, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..evaluation.measures import MEASURES, Measure
from ..evaluation.pages import Page
from ..evaluation.verdict import DECISIVE
from ..files import write_text

if TYPE_CHECKING:
    from pandas import DataFrame, Series

SIGNIFICANT = 5  # digits of the numbers in the page
FAILED = "failed"
# Columns of which each text is stored once.
REPEATED = ("engine", "subject", "session", "group", "light", "message", "hint")


def write_page(path: Path, frame: DataFrame, *, manifest: str = "", missing: int = 0) -> Path:
    """Write the page of a cohort.

    The table is inside the page; thumbnails and reports are links to the folders beside it, loaded when they are shown.

    Parameters
    ----------
    path : Path
        The file, in the folder of the cohort.
    frame : DataFrame
        From `table.cohort_frame`.
    manifest : str
        Where the pairs come from.
    missing : int
        Number of registrations that are not computed yet.

    Raises
    ------
    RegistrationError
        When jinja2 is missing.
    FileError
        When the file cannot be written.
    """
    values = {
        "title": f"Cohort {Path(manifest).stem}" if manifest else "Cohort",
        "manifest": manifest,
        "missing": missing,
        "total": len(frame),
        "pairs": frame["pair"].nunique(),
        "engines": sorted(_engines(frame).unique()),
        # '<' must not end the script element that contains the data.
        "data": json.dumps(page_data(frame), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    return write_text(path, Page("cohort.html").filled(values))


def main_measures(frame: DataFrame) -> list[Measure]:
    """Return the main measures that a table has values of."""
    return [
        measure
        for measure in MEASURES.values()
        if measure.main and f"after_{measure.name}" in frame and frame[f"after_{measure.name}"].notna().any()
    ]


def page_data(frame: DataFrame) -> dict[str, Any]:
    """Return the content of the page as plain values, one list per column.

    'measures' describes the measures shown, 'numbers' has the lists by name (null where there is no value), 'words' the
    texts: plain lists, or for texts that repeat {'names': [...], 'index': [...]}.
    """
    shown = main_measures(frame)
    numbers = {name: _numbers(frame[name]) for name in ("outlier", "seconds")}
    for measure in shown:
        for side in ("before", "after"):
            if f"{side}_{measure.name}" in frame:
                numbers[f"{side}_{measure.name}"] = _numbers(frame[f"{side}_{measure.name}"])
    lights = frame["verdict"].where(frame["status"] == "done", FAILED)
    words: dict[str, Any] = {
        "pair": frame["pair"].tolist(),
        "sentence": frame["sentence"].fillna("").tolist(),
        "folder": frame["folder"].tolist(),
        "page": (frame["page"] != "").astype(int).tolist(),
        "thumbnail": (frame["thumbnail"] != "").astype(int).tolist(),
    }
    repeated = frame.assign(engine=_engines(frame), light=lights)
    words |= {name: _indexed(repeated[name]) for name in REPEATED}
    return {
        "measures": [
            {
                "name": measure.name,
                "title": measure.short or measure.title,
                "definition": measure.definition,
                "unit": measure.unit,
                "direction": measure.direction,
                "decimals": measure.decimals,
            }
            for measure in shown
        ],
        "decisive": next((name for name in DECISIVE if f"after_{name}" in numbers), ""),
        "numbers": numbers,
        "words": words,
    }


def _engines(frame: DataFrame) -> Series[str]:
    preset = frame["preset"].where(frame["preset"] == "default", ":" + frame["preset"].astype(str))
    return frame["engine"].astype(str) + preset.replace("default", "")


def _numbers(column: Series[Any]) -> list[float | None]:
    values = column.to_numpy(dtype=float)
    return [float(f"{value:.{SIGNIFICANT}g}") if np.isfinite(value) else None for value in values]


def _indexed(column: Series[str]) -> dict[str, Any]:
    import pandas

    index, names = pandas.factorize(column.fillna("").astype(str))
    return {"names": list(names), "index": index.tolist()}
