"""The description of a view, used by the panel and the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..plotting import Draw

if TYPE_CHECKING:
    from ..figures import Pictures, Side

UPPER = "upper"


@dataclass(frozen=True)
class Legend:
    """What the colors of a view mean.

    Attributes
    ----------
    title : str
        Quantity; `{upper}` is replaced by 'Warped', or by 'Moving' in the picture before registration.
    note : str
        Unit, or meaning of a special color.
    low, high : float
        Values at the ends of the color scale.
    names : mapping of float to str
        Values named in the report, and their names.
    marks_folds : bool
        Whether folds have a separate color.
    signed : bool
        Whether both signs are shown; other scales begin at zero.
    ticks : int
        Number of values in the slice views' legend.
    number_format : str
        Number format of these values in C's printf syntax.
    """

    title: str
    note: str
    low: float
    high: float
    names: Mapping[float, str]
    marks_folds: bool = False
    signed: bool = True
    ticks: int = 5
    number_format: str = "%.1f"

    def text(self, *, before: bool, separator: str = " ") -> str:
        """Return title and note for the picture before or after registration."""
        return f"{self.title.format(upper='Moving' if before else 'Warped')}{separator}({self.note})"


@dataclass(frozen=True)
class View:
    """One view of a registration.

    Attributes
    ----------
    name : str
        For example 'red-cyan'.
    title : str
        One or two words: text of the panel's button and heading in the report.
    caption : str
        What is shown and how to interpret it: tooltip of the button and text below the heading in the report.
    needs : tuple of str
        Roles of the shown data; `UPPER` is 'warped', or 'moving' before registration.
    options : mapping of str to str
        Options of the view ('opacity', 'tile', 'spacing', 'flicker') and their labels.
    legend : Legend or None
        Meaning of its colors.
    row : callable or None
        `row(pictures, side)` returns the function that draws a row of the report's picture; None when only the panel
        has the view.
    before : bool
        Whether the report also shows it before registration.
    with_fixed : bool
        Whether the report shows the fixed volume above it.
    in_panel : bool
        Whether the panel has a button for it; a file of the same name in `mrml/views` then shows it.
    picture_needs : tuple of str
        What the report's picture needs besides both volumes: 'fixed_labels', 'error_map'.
    """

    name: str
    title: str
    caption: str
    needs: tuple[str, ...] = ("fixed", UPPER)
    options: Mapping[str, str] = field(default_factory=dict)
    legend: Legend | None = None
    row: Callable[[Pictures, Side], Draw] | None = None
    before: bool = True
    with_fixed: bool = False
    in_panel: bool = True
    picture_needs: tuple[str, ...] = ()

    def has_picture(self, pictures: Pictures) -> bool:
        """Return whether a pair has the data for the report's picture."""
        data = {"fixed_labels": pictures.pair.fixed_labels, "error_map": pictures.evaluation.error_map}
        return all(data[name] is not None for name in self.picture_needs)

    def roles(self, *, before: bool) -> tuple[str, ...]:
        """Return the roles of the data shown before or after registration."""
        return tuple(("moving" if before else "warped") if role == UPPER else role for role in self.needs)
