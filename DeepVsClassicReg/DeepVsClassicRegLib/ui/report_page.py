"""An HTML page to save: the verdict, the current views, all measures, and the settings of each run."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core.evaluation.verdict import seconds_text
from ..mrml.runs import Run, stored_views
from ..mrml.tables import unique_titles

STYLE = """
body{font-family:system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0}th,td{border-bottom:1px solid #ccc;padding:.25em .8em;text-align:left}
img{max-width:32%;margin-right:.5%}.note{color:#666}figure{margin:1em 0}
"""


@dataclass(frozen=True)
class CapturedViews:
    """The slice views at one moment.

    Attributes
    ----------
    caption : str
        What they show.
    pictures : tuple of (str, str)
        Name and PNG (base64) of each view.
    """

    caption: str
    pictures: tuple[tuple[str, str], ...]

    @classmethod
    def from_json(cls, text: str) -> CapturedViews:
        """Return the views that `to_json` has stored."""
        content = json.loads(text)
        return cls(str(content["caption"]), tuple((str(name), str(png)) for name, png in content["pictures"]))

    def to_json(self) -> dict[str, Any]:
        """Return the views for the record of a run."""
        return {"caption": self.caption, "pictures": [list(picture) for picture in self.pictures]}

    @property
    def html(self) -> str:
        """The pictures above their caption."""
        return f"<figure>{_images(self.pictures)}<figcaption>{html.escape(self.caption)}</figcaption></figure>"


def captured_views(runs: Sequence[Run]) -> list[CapturedViews]:
    """Return all views that were added with some runs."""
    return [CapturedViews.from_json(text) for run in runs for text in stored_views(run)]


def page(
    runs: Sequence[Run],
    shown: Run,
    verdict: str,
    tables: Sequence[tuple[str, Any]],
) -> str:
    """Return the page of some runs as self-contained HTML.

    Parameters
    ----------
    runs : sequence of Run
        The runs in the tables; the views that were added with them are in the page.
    shown : Run
        The run in the pictures.
    verdict : str
        The verdict of the shown run, as HTML.
    tables : sequence of (str, vtkMRMLTableNode)
        Title and content.
    """
    title = html.escape(shown.title)
    parts = [
        f'<!DOCTYPE html><html><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head><body>',
        f"<h1>{title}</h1><p>{verdict}</p>",
        _images(pictures_of_views()),
        *(views.html for views in captured_views(runs)),
    ]
    for heading, node in tables:
        parts.append(f"<h2>{html.escape(heading)}</h2>{_table(node)}")
    for name, run in zip(unique_titles(runs), runs, strict=True):
        parts.append(f"<h2>{html.escape(name)}</h2>{_how(run)}")
    made = datetime.now().strftime("%Y-%m-%d %H:%M")
    parts.append(f'<p class="note">{_("Made with Deep vs Classic Registration, {date}.").format(date=made)}</p>')
    return "\n".join([*parts, "</body></html>"])


def _images(pictures: Sequence[tuple[str, str]]) -> str:
    return "\n".join(
        f'<img alt="{html.escape(name)}" src="data:image/png;base64,{html.escape(picture)}">'
        for name, picture in pictures
    )


def pictures_of_views() -> list[tuple[str, str]]:
    """Return name and PNG (base64) of every visible slice view."""
    layout = slicer.app.layoutManager()
    found = []
    for name in layout.sliceViewNames() if layout is not None else ():
        widget = layout.sliceWidget(name)
        view = widget.sliceView()
        if widget.mrmlSliceNode().IsMappedInLayout() and view.width > 1 and view.height > 1:
            found.append((name, _png(view.grab())))
    return found


def _png(pixmap: Any) -> str:
    content = qt.QByteArray()
    buffer = qt.QBuffer(content)
    buffer.open(qt.QIODevice.WriteOnly)
    pixmap.save(buffer, "PNG")
    buffer.close()
    return base64.b64encode(bytes(content.data())).decode("ascii")


def _table(node: Any) -> str:
    table = node.GetTable()
    columns = range(table.GetNumberOfColumns())
    head = "".join(f"<th>{html.escape(table.GetColumnName(column))}</th>" for column in columns)
    rows = [
        "".join(f"<td>{html.escape(_cell(table.GetValue(row, column)))}</td>" for column in columns)
        for row in range(table.GetNumberOfRows())
    ]
    return f"<table><tr>{head}</tr>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _cell(value: Any) -> str:
    if not value.IsNumeric():
        return str(value.ToString())
    number = value.ToDouble()
    return "–" if number != number else f"{number:.4g}"


def _how(run: Run) -> str:
    """Return the details of a run: settings, time, device, versions, notes and citations."""
    report = run.typed_report
    facts = [
        (_("Engine"), run.engine),
        (_("Preset"), run.preset),
        (_("Time"), seconds_text(report.total_seconds or 0.0)),
        (_("Device"), report.device),
        (_("Seed"), report.seed),
        (_("Settings"), _joined(report.settings)),
        (_("Versions"), _joined(report.versions)),
        (_("Remarks"), " ".join(report.notes)),
        (_("Cite"), " ".join(report.citations)),
    ]
    rows = [
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in facts
        if value not in (None, "")
    ]
    return f"<table>{''.join(rows)}</table>"


def _joined(values: Any) -> str:
    return ", ".join(f"{key} = {value}" for key, value in values.items())
