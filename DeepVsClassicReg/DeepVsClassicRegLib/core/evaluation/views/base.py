"""What the panel and the report both need to know of a way of looking at a registration."""

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
        Quantity; `{upper}` stands for 'Warped', or 'Moving' in the picture before registration.
    note : str
        Unit or what a special color means.
    low, high : float
        Values at the ends of the color scale.
    names : mapping of float to str
        Values named in the report, and their names.
    marks_folds : bool
        Whether folds have a color of their own.
    ticks : int
        Number of values in the slice views' legend.
    number_format : str
        Of these values, as C's printf wants it.
    """

    title: str
    note: str
    low: float
    high: float
    names: Mapping[float, str]
    marks_folds: bool = False
    ticks: int = 5
    number_format: str = "%.1f"

    def text(self, *, before: bool, separator: str = " ") -> str:
        """Return title and note for the picture before or after registration."""
        return f"{self.title.format(upper='Moving' if before else 'Warped')}{separator}({self.note})"


@dataclass(frozen=True)
class View:
    """One way of looking at a registration.

    Attributes
    ----------
    name : str
        Such as 'red-cyan'.
    title : str
        A word or two: the panel's button and the report's heading.
    caption : str
        What is seen and how to read it: the button's tooltip and the text below the report's heading.
    needs : tuple of str
        Roles of what is shown; `UPPER` is 'warped', or 'moving' before registration.
    options : mapping of str to str
        Options that can be changed while looking ('opacity', 'tile', 'spacing', 'flicker') and their labels.
    legend : Legend or None
        What its colors mean.
    row : callable or None
        `row(pictures, side)` returns what draws a row of the report's picture; None when only the panel has the view.
    before : bool
        Whether the report also shows it before registration.
    with_fixed : bool
        Whether the report shows the fixed volume above.
    in_panel : bool
        Whether the panel has a button for it; `mrml/views` then has a file of the same name that shows it.
    has_picture : callable
        Whether a pair holds what the report's picture needs.
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
    has_picture: Callable[[Pictures], bool] = lambda _pictures: True

    def roles(self, *, before: bool) -> tuple[str, ...]:
        """Return the roles of what is shown before or after registration."""
        return tuple(("moving" if before else "warped") if role == UPPER else role for role in self.needs)
