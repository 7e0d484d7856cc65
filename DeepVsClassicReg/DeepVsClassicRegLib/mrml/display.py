"""Looking at a run in the slice views: modes of comparison, before and after, jumping, and putting all back."""

from __future__ import annotations

from enum import Enum

from .runs import Run
from .spots import Spot


class Mode(Enum):
    """Ways to compare the fixed volume with the warped one."""

    BLEND = "blend"
    FLICKER = "flicker"
    CHECKERBOARD = "checkerboard"
    DIFFERENCE = "difference"
    CONTOURS = "contours"
    RED_CYAN = "red-cyan"
    GRID = "grid"
    GLYPHS = "glyphs"
    JACOBIAN = "jacobian"


class Inspection:
    """A look at one run after the other; changes the views until `close`.

    Parameters
    ----------
    view_names : sequence of str
        Layout names of the slice views to use; all slice views of the layout when empty.

    Examples
    --------
    >>> inspection = Inspection()                              # doctest: +SKIP
    >>> inspection.show(run, Mode.CHECKERBOARD, tile_mm=24)    # doctest: +SKIP
    >>> inspection.jump(worst_folds(run)[0])                   # doctest: +SKIP
    >>> inspection.close()                                     # doctest: +SKIP
    """

    def __init__(self, view_names: tuple[str, ...] = ()) -> None:
        raise NotImplementedError

    @property
    def mode(self) -> Mode | None:
        """What is shown, None after `close`."""
        raise NotImplementedError

    def prepare(self, run: Run) -> None:
        """Compute what checkerboard and difference need; may be called in a thread before `show`."""
        raise NotImplementedError

    def show(
        self,
        run: Run,
        mode: Mode,
        *,
        opacity: float | None = None,
        tile_mm: float | None = None,
        spacing_mm: float | None = None,
        before: bool | None = None,
    ) -> None:
        """Show a run; an option that is None keeps its former value.

        Parameters
        ----------
        run : Run
            Which run; the fixed view stays where it is when runs are switched.
        mode : Mode
            How.
        opacity : float
            Of the upper layer in BLEND and JACOBIAN, 0 to 1.
        tile_mm : float
            Edge of the checkerboard's squares.
        spacing_mm : float
            Of the grid's lines and the arrows.
        before : bool
            Whether to show the moving volume as it was instead of the warped one.
        """
        raise NotImplementedError

    def set_opacity(self, opacity: float) -> None:
        """Set the opacity of the upper layer (the blend slider)."""
        raise NotImplementedError

    def flicker(self) -> None:
        """Show the other one of fixed and warped (called by the panel's timer)."""
        raise NotImplementedError

    def show_before(self, before: bool) -> None:
        """Show the moving volume as it was, or as it is warped."""
        raise NotImplementedError

    def set_linked(self, linked: bool) -> None:
        """Link the slice views, so that one zooms and pans them all."""
        raise NotImplementedError

    def jump(self, spot: Spot) -> None:
        """Center every slice view and the crosshair on a spot."""
        raise NotImplementedError

    def close(self) -> None:
        """Put the views back as the user had them and remove every node made for looking."""
        raise NotImplementedError
