"""Shows a run in the slice views: view modes, before and after, jumps to locations, and restoring the views."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import slicer

from ..core.evaluation.locations import Location
from ..core.evaluation.views.catalogue import get_view
from .geometry import flipped
from .runs import Run
from .slice_display import DisplayOptions, SliceDisplay, composite_nodes, fit, layout_node, slice_nodes
from .views.catalogue import get_slice_view


class Inspection:
    """Shows runs in the slice views and controls the views until `close`.

    Call `close` before the scene is closed and when the user leaves the panel. A scene saved in between also holds
    the user's own views, see `memory`.

    Parameters
    ----------
    view_names : sequence of str
        Layout names of the slice views to use; all slice views when empty.

    Examples
    --------
    >>> inspection = Inspection()                              # doctest: +SKIP
    >>> inspection.show(run, "checkerboard", tile_mm=24)       # doctest: +SKIP
    >>> inspection.jump(run.locations("fold")[0])              # doctest: +SKIP
    >>> inspection.close()                                     # doctest: +SKIP
    """

    def __init__(self, view_names: Sequence[str] = ()) -> None:
        self.view_names = tuple(view_names)
        self.run: Run | None = None
        self.view: str | None = None
        self._slices = SliceDisplay(view_names)

    @property
    def options(self) -> DisplayOptions:
        """The options of the view modes."""
        return self._slices.options

    def preparation(self, run: Run, view: str, *, before: bool | None = None) -> Callable[[], None] | None:
        """Return the computation that `show` needs, to be run in a thread beforehand; None when there is none.

        Call this in the main thread. The result touches no node.

        Raises
        ------
        RegistrationError
            When a required node was deleted.
        """
        shown_before = self.options.before if before is None else before
        check(run, view, before=shown_before)
        upper = "moving" if shown_before else "warped"
        shown = get_slice_view(view)
        compute = shown.prepare(run, upper) if shown.prepare is not None else None
        return self._slices.cache.work(run, shown.sources(run, upper), view=view, upper=upper, compute=compute)

    def show(
        self,
        run: Run,
        view: str,
        *,
        opacity: float | None = None,
        tile_mm: float | None = None,
        spacing_mm: float | None = None,
        before: bool | None = None,
    ) -> str:
        """Show a run; an option that is None keeps its value.

        Parameters
        ----------
        run : Run
            The run to show; the views keep their position when runs are switched.
        view : str
            View mode: the name of one of `core.evaluation.views.catalogue.panel_views`.
        opacity, tile_mm, spacing_mm, before
            See `slice_display.DisplayOptions`.

        Returns
        -------
        str
            Describes what cannot be shown because its node was deleted; empty when everything is shown.

        Raises
        ------
        RegistrationError
            When a required node was deleted. The views do not change.
        SettingsError
            When there is no view mode of that name.
        """
        check(run, view, before=self.options.before if before is None else before)
        for name, value in (("opacity", opacity), ("tile_mm", tile_mm), ("spacing_mm", spacing_mm), ("before", before)):
            if value is not None:
                setattr(self.options, name, value)
        work = self.preparation(run, view)
        if work is not None:
            work()
        first = self.view is None
        had_background = any(composite.GetBackgroundVolumeID() for composite in composite_nodes(self.view_names))
        self.remember_views()
        if view != self.view:
            self._slices.restore_layout()
        self.run, self.view, self._slices.view = run, view, view
        self._slices.clear()
        shown = get_slice_view(view)
        shown.show(self._slices, run)
        if first and not had_background:
            fit(self.view_names)
        return shown.remark(run, before=self.options.before) if shown.remark is not None else ""

    @property
    def has_changed_views(self) -> bool:
        """Whether `close` has something to restore."""
        return not self._slices.memory.is_empty

    def remember_views(self) -> None:
        """Store position and layout of the views for `close`; call it before changing them."""
        for node in slice_nodes(self.view_names):
            self._slices.memory.keep(node, "SliceToRAS", "FieldOfView", "XYZOrigin")
        layout = layout_node()
        if layout is not None:
            self._slices.memory.keep(layout, "ViewArrangement")

    def fit_new_views(self) -> None:
        """Zoom the views of a layout that a view mode brought, once they have their size on the screen."""
        if self._slices.has_own_layout:
            fit([node.GetLayoutName() for node in slice_nodes() if node.IsMappedInLayout()], keep_slice=True)

    def set_opacity(self, opacity: float) -> None:
        """Set the opacity of the upper layer (the blend slider)."""
        self.options.opacity = opacity
        if self.view is not None and "opacity" in get_view(self.view).options:
            for composite in composite_nodes(self.view_names):
                self._slices.memory.set(composite, "ForegroundOpacity", opacity)

    def flicker(self) -> bool:
        """Switch between fixed and warped (called by the panel's timer); return whether warped is shown."""
        composites = composite_nodes(self.view_names)
        upper = not any(composite.GetForegroundOpacity() > 0.5 for composite in composites)
        for composite in composites:
            self._slices.memory.set(composite, "ForegroundOpacity", 1.0 if upper else 0.0)
        return upper

    def set_linked(self, linked: bool) -> None:
        """Link the slice views, so that all zoom and pan together."""
        self._slices.link((), linked=linked)

    def jump(self, location: Location) -> None:
        """Center all slice views and the crosshair on a location."""
        self.remember_views()
        point = flipped(location.point_mm).tolist()
        for node in slice_nodes(self.view_names):
            node.JumpSliceByCentering(*point)
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if crosshair is not None:
            self._slices.memory.set(crosshair, "CrosshairMode", crosshair.ShowSmallBasic)
            crosshair.SetCrosshairRAS(*point)

    def close(self, *, places: bool = True) -> None:
        """Restore the views of the user and remove all nodes that were created to show runs.

        Parameters
        ----------
        places : bool
            Whether slice offset, field of view and layout are restored as well; a layout of a view mode is left in any
            case.
        """
        self._slices.remove_extra()
        self._slices.restore_layout()
        self._slices.memory.restore(places=places)
        self._slices.layers.remove()
        self._slices.cache.clear()
        self.run = self.view = None


def check(run: Run, view: str, *, before: bool) -> None:
    """Raise `RegistrationError` when a node that a view mode needs was deleted."""
    for role in get_view(view).roles(before=before):
        run.need(role)
