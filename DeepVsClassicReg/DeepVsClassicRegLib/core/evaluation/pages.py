"""Common parts of the HTML pages: filling a template, and tables of measures with the best value marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import RegistrationError
from ..settings import to_json
from ..version import VERSION
from .measures import MEASURES, Measure
from .plotting import data_uri

TEMPLATES = Path(__file__).parent / "templates"
COLUMN_TITLES = {"before": "Before", "start": "Linear alignment", "after": "After"}


class Page:
    """A page from a template; created first, so that a missing package is reported before pictures are drawn.

    Parameters
    ----------
    name : str
        A file in `templates/`.

    Raises
    ------
    RegistrationError
        When jinja2 is not installed.
    """

    def __init__(self, name: str) -> None:
        try:
            from jinja2 import Environment, FileSystemLoader, StrictUndefined
        except ImportError as error:
            raise RegistrationError(
                "HTML reports need jinja2, which is not installed.", hint="pip install jinja2"
            ) from error
        environment = Environment(
            loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._template = environment.get_template(name)

    def filled(self, values: Mapping[str, Any]) -> str:
        """Return the page filled with these values, escaped."""
        return str(self._template.render(version=VERSION, **values))


def tile(title: str, value: str, remark: str) -> dict[str, str]:
    """Return a key number of the page atlas.html."""
    return {"title": title, "value": value, "remark": remark}


def picture_part(title: str, caption: str, figure: Any, *, photo: bool = True) -> dict[str, Any]:
    """Return a part of the page atlas.html with a figure: a photo (of volumes) or a plot."""
    return {"title": title, "caption": caption, "uri": data_uri(figure, photo=photo), "photo": photo}


def settings_rows(settings: Any) -> list[tuple[str, Any]]:
    """Return the names and values of a dataclass of settings for the details of a page."""
    return [(name.replace("_", " "), value) for name, value in to_json(settings).items()]


def measure_table(columns: Mapping[str, Mapping[str, Any]], *, measures: Sequence[Measure] = ()) -> dict[str, Any]:
    """Return the rows of a table of measures, with the best value of each row marked.

    Parameters
    ----------
    columns : mapping
        Title of a column -> measure name -> value.
    measures : sequence of Measure, optional
        The rows; default: all scalar measures of at least one column.
    """
    shown = measures or [
        measure
        for measure in MEASURES.values()
        if not measure.per_item and any(column.get(measure.name) is not None for column in columns.values())
    ]
    rows: list[dict[str, Any]] = []
    family = ""
    for measure in shown:
        if measure.name == "labels_lost" and not any(column.get("labels_lost") for column in columns.values()):
            continue
        values = [column.get(measure.name) for column in columns.values()]
        rows.append(
            {
                "title": measure.title,
                "definition": measure.definition,
                "arrow": measure.arrow,
                "unit": measure.unit,
                "new_family": bool(rows) and measure.family != family,
                "cells": [{"text": measure.text(v), "best": is_best(measure, v, values)} for v in values],
            }
        )
        family = measure.family
    return {"columns": list(columns), "rows": rows}


def is_best(measure: Measure, value: float | None, values: Sequence[float | None]) -> bool:
    """Return whether a value is the best of several that differ in their displayed digits."""
    if (
        value is None
        or not measure.direction
        or len({measure.text(other) for other in values if other is not None}) < 2
    ):
        return False
    return not any(measure.better(other, value) for other in values)
