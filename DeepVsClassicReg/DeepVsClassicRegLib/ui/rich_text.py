"""Rich text of the panel: lines with a colored dot, the problems of the inputs, the advice."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from ..mrml.advice import band_text, entry_of, entry_title, seconds_text
from ..mrml.inputs import Inputs
from ..mrml.problems import InputProblem, problems

# Readable on Slicer's light and dark style.
COLORS = {"error": "#d9534f", "warning": "#d98c00", "missing": "#808080", "note": "#808080"}
DOT = "●"
SURE, UNSURE = ("#3a9d5d", "✔"), ("#d98c00", "?")


class InputCheck:
    """The problems of some inputs, ready to be shown.

    Attributes
    ----------
    found : list of InputProblem
        Errors first.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.found: list[InputProblem] = problems(inputs)
        self._given = {role for role, _node in inputs.given()}

    @property
    def ok(self) -> bool:
        """Whether the run can start."""
        return not any(problem.is_error for problem in self.found)

    @property
    def html(self) -> str:
        """Return the problems as rich text, one per line; inputs not selected yet are hints, not errors."""
        return "<br>".join(self._line(problem) for problem in self.found)

    @property
    def tooltip(self) -> str:
        """Return why the run cannot start, an empty text when it can."""
        return "\n".join(str(problem) for problem in self.found if problem.is_error)

    def _line(self, problem: InputProblem) -> str:
        kind = problem.severity
        if problem.is_error and problem.role in ("fixed", "moving") and problem.role not in self._given:
            return line("missing", problem.message)
        return line(kind, problem.message, problem.hint)


def line(kind: str, message: str, hint: str = "") -> str:
    """Return a message with a colored dot and its hint in italics, as rich text."""
    text = html.escape(message)
    if hint:
        text += f" <i>{html.escape(hint)}</i>"
    return f'<span style="color:{COLORS[kind]}">{DOT}</span>&nbsp;{text}'


def cannot_start(reason: str) -> str:
    """Return the tooltip of the disabled button."""
    return _("Not possible yet: {reason}").format(reason=reason)


def headline(advice: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Return the recommendation in one sentence, with the expected quality and time."""
    entry = entry_of(advice)
    name = html.escape(entry_title(entry, titles))
    color, mark = SURE if advice["sure"] else UNSURE
    said = _("Use {engine}").format(engine=name) if advice["sure"] else _("No clear recommendation")
    first = f'<span style="color:{color}; font-size:large"><b>{mark}&nbsp;{said}</b></span>'
    rest = expectation(advice, entry)
    if advice["runner_up"]:
        second = html.escape(entry_title(advice["runner_up"], titles))
        rest = f"{rest} {_('Runner-up: {engine}.').format(engine=second)}".strip()
    if not advice["sure"]:
        begin = _("The evidence is not sufficient. To register anyway, start with {engine} and check the result.")
        rest = f"{begin.format(engine=f'<b>{name}</b>')} {rest}"
    return f"{first}<br>{rest}".removesuffix("<br>")


def expectation(advice: Mapping[str, Any], entry: str) -> str:
    """Return the expected Dice and time of an engine, as far as they are known."""
    band, seconds = (advice.get("predicted_dice") or {}).get(entry), (advice.get("seconds") or {}).get(entry)
    if band and seconds is not None:
        return _("Expected Dice {band}, about {time}.").format(band=band_text(band), time=seconds_text(seconds))
    if band:
        return _("Expected Dice {band}.").format(band=band_text(band))
    if seconds is not None:
        return _("About {time}; no Dice can be predicted.").format(time=seconds_text(seconds))
    return ""


def reasons(advice: Mapping[str, Any]) -> str:
    """Return the reasons as a numbered list, each with its source."""
    items = [
        f"<li>{html.escape(reason['text'])} <small>[{html.escape(reason['source'])}]</small></li>"
        for reason in advice["reasons"]
    ]
    return f'<ol style="margin-left:-20px">{"".join(items)}</ol>'


def limits(texts: Sequence[str]) -> str:
    """Return the limits of the advice as a list."""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
    return f'<ul style="margin-left:-20px">{items}</ul>'


def faint(text: str) -> str:
    """Return a secondary remark in the normal text color; gray is hard to read on a dark style."""
    return f"<small>{html.escape(text)}</small>"
