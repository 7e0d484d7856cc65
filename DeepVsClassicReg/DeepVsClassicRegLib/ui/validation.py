"""Shows what is missing or wrong with the inputs, and what to do about it."""

from __future__ import annotations

import html

from slicer.i18n import tr as _

from ..mrml.inputs import Inputs
from ..mrml.problems import InputProblem, problems

# Readable on Slicer's light and dark style.
COLORS = {"error": "#d9534f", "warning": "#d98c00", "missing": "#808080", "note": "#808080"}
DOT = "●"


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
