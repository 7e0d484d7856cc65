"""The table of a cohort: one row per pair and engine with all measures, as cohort.csv and cohort.parquet."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import RegistrationError
from ..evaluation.measures import HIGHER, MEASURES
from ..files import atomic
from ..settings import Choice
from .cluster import INSTALL
from .page import main_measures, write_page
from .records import PairRecord, read_records, read_run, task_folder

if TYPE_CHECKING:
    from pandas import DataFrame

CSV_FILE, PARQUET_FILE, PAGE_FILE = "cohort.csv", "cohort.parquet", "cohort.html"
ABOUT = ("pair", "engine", "preset", "subject", "session", "group", "status", "verdict")
COST = ("seconds", "cpu_seconds", "wall_seconds", "peak_memory_mb")
WORDS = ("message", "hint", "sentence", "folder", "page", "thumbnail")
# Fewer values of an engine give no outliers.
LEAST_VALUES = 5
MAD_TO_SD = 1.4826
ORDER = {"bad": 1, "check": 2, "good": 3}


def write_tables(out: Path) -> dict[str, Path]:
    """Write cohort.csv, cohort.parquet and cohort.html from the records of a cohort, and return the files.

    Raises
    ------
    FileError
        When it is not the folder of a cohort, or a file cannot be written.
    RegistrationError
        When pandas, pyarrow or jinja2 is missing.
    """
    manifest, tasks = read_run(out)
    frame = cohort_frame(read_records(out, tasks), out)
    files = {CSV_FILE: out / CSV_FILE, PARQUET_FILE: out / PARQUET_FILE, PAGE_FILE: out / PAGE_FILE}
    with atomic(files[CSV_FILE]) as draft:
        frame.to_csv(draft, index=False)
    with atomic(files[PARQUET_FILE]) as draft:
        frame.to_parquet(draft, index=False)
    write_page(files[PAGE_FILE], frame, manifest=manifest, missing=len(tasks) - len(frame))
    return files


def cohort_frame(records: Iterable[PairRecord], out: Path) -> DataFrame:
    """Return the table of some records, what needs attention first.

    Columns: what was registered (`ABOUT`), `outlier` (see `outlier_scores`), times and memory, before_NAME and
    after_NAME of every measure, the further columns of the manifest, messages, and the folder of the results, relative
    to `out`. Rows are sorted: failed, bad, then by outlier score and verdict.
    """
    for name in ("pandas", "pyarrow"):
        if importlib.util.find_spec(name) is None:
            raise RegistrationError(f"The table of a cohort needs {name}, which is not installed.", hint=INSTALL)
    import pandas

    rows = [_row(record, out) for record in records]
    frame = pandas.DataFrame(rows, columns=_columns(rows))
    for name in frame.columns:
        if name.startswith(("before_", "after_")) or name in COST:
            frame[name] = pandas.to_numeric(frame[name])
    frame.insert(len(ABOUT), "outlier", outlier_scores(frame))
    rank = frame["verdict"].map(ORDER).fillna(0).where(frame["status"] == "done", 0)
    bad = rank.where(rank < ORDER["check"], ORDER["check"])
    names, scores = frame["pair"].to_numpy(dtype=str), -frame["outlier"].fillna(0).to_numpy()
    order = np.lexsort((names, rank.to_numpy(), scores, bad.to_numpy()))  # the last key comes first
    return frame.iloc[order].reset_index(drop=True)


def outlier_scores(frame: DataFrame) -> npt.NDArray[np.float64]:
    """Return how far each row is on the worse side of its engine's median, in robust standard deviations, (N,).

    The highest value over the main measures with a better direction; 0 on the better side, NaN where an engine has
    fewer than five values. The standard deviation is 1.4826 times the median absolute deviation.
    """
    scores = np.full(len(frame), np.nan)
    for measure in main_measures(frame):
        values = frame[f"after_{measure.name}"].to_numpy(dtype=float)
        for rows in frame.groupby(["engine", "preset"], sort=False).indices.values():
            own = values[rows]
            known = np.isfinite(own)
            if not measure.direction or known.sum() < LEAST_VALUES:
                continue
            middle = np.median(own[known])
            spread = MAD_TO_SD * np.median(np.abs(own[known] - middle))
            if spread > 0:
                worse = (middle - own) if measure.direction == HIGHER else (own - middle)
                scores[rows] = np.fmax(scores[rows], np.maximum(worse / spread, 0))
    return scores


def _row(record: PairRecord, out: Path) -> dict[str, Any]:
    folder = task_folder(out, record.pair, Choice(record.engine, record.preset)).relative_to(out).as_posix()
    places = {name: f"{folder}/{name}" if name in record.files else "" for name in ("report.html", "thumbnail.jpg")}
    row: dict[str, Any] = {name: getattr(record, name) for name in (*ABOUT, *COST, "message", "hint", "sentence")}
    row |= {"folder": folder, "page": places["report.html"], "thumbnail": places["thumbnail.jpg"]}
    row |= {f"before_{name}": value for name, value in record.before.items()}
    row |= {f"after_{name}": value for name, value in record.after.items()}
    return {**{name: text for name, text in record.info.items() if name not in row}, **row}


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of some rows: description, cost, measures in the order of `MEASURES`, the rest."""
    there: dict[str, None] = {}
    for row in rows:
        there.update(dict.fromkeys(row))
    measured = [f"{side}_{name}" for name in MEASURES for side in ("before", "after") if f"{side}_{name}" in there]
    first = [*ABOUT, *COST, *measured]
    others = [name for name in there if name not in {*first, *WORDS}]
    return [*first, *others, *WORDS]
