"""Looking at a run in the slice views: modes of comparison, before and after, jumping, and putting all back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import slicer
from slicer.i18n import tr as _

from . import colors, comparison
from .arrays import image_of
from .frames import flipped, grid_of
from .layers import Layers
from .memory import Memory
from .overlays import show_segmentations, show_warp
from .prepared import NEEDED, Cache
from .runs import ROLE_TITLES, Run
from .spots import Spot
from .views import composite_nodes, fit, layout_node, slice_nodes
from .volumes import GRAY


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

    Call `close` before the scene is closed, and when the panel is left. A scene that is saved meanwhile holds what
    the user had, see `memory`.

    Parameters
    ----------
    view_names : sequence of str
        Layout names of the slice views to use; all slice views when empty.

    Examples
    --------
    >>> inspection = Inspection()                              # doctest: +SKIP
    >>> inspection.show(run, Mode.CHECKERBOARD, tile_mm=24)    # doctest: +SKIP
    >>> inspection.jump(worst_folds(run)[0])                   # doctest: +SKIP
    >>> inspection.close()                                     # doctest: +SKIP
    """

    def __init__(self, view_names: Sequence[str] = ()) -> None:
        self.view_names = tuple(view_names)
        self.run: Run | None = None
        self.mode: Mode | None = None
        self.opacity = 0.5
        self.tile_mm = 20.0
        self.spacing_mm = 12.0
        self.before = False
        self._memory = Memory()
        self._layers = Layers()
        self._cache = Cache()
        self._extra: list[Any] = []

    def preparation(self, run: Run, mode: Mode, *, before: bool | None = None) -> Callable[[], None] | None:
        """Return the computing that `show` would do, to be called in a thread beforehand; None when there is none.

        Call this in the main thread. The result touches no node.

        Raises
        ------
        RegistrationError
            When a node that is needed was deleted.
        """
        check(run, mode, before=self.before if before is None else before)
        upper = self._upper_key(before)
        needed: tuple[str, ...] = {
            Mode.CHECKERBOARD: ("fixed", upper),
            Mode.DIFFERENCE: NEEDED[f"difference {upper}"],
            Mode.CONTOURS: () if _has_outlines(run) else NEEDED["levels"],
            Mode.GRID: ("warp",),
            Mode.GLYPHS: ("warp",),
            Mode.JACOBIAN: ("log_jacobian",),
        }.get(mode, ())
        return self._cache.work(run, needed)

    def show(
        self,
        run: Run,
        mode: Mode,
        *,
        opacity: float | None = None,
        tile_mm: float | None = None,
        spacing_mm: float | None = None,
        before: bool | None = None,
    ) -> str:
        """Show a run; an option that is None keeps its former value.

        Parameters
        ----------
        run : Run
            Which run; the views stay where they are when runs are switched.
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

        Returns
        -------
        str
            What cannot be shown because its node was deleted; empty when everything is shown.

        Raises
        ------
        RegistrationError
            When a node that is needed was deleted. The views stay as they are.
        """
        check(run, mode, before=self.before if before is None else before)
        for name, value in (("opacity", opacity), ("tile_mm", tile_mm), ("spacing_mm", spacing_mm), ("before", before)):
            if value is not None:
                setattr(self, name, value)
        first = self.mode is None
        had_background = any(composite.GetBackgroundVolumeID() for composite in composite_nodes(self.view_names))
        self.remember_views()
        self.run, self.mode = run, mode
        self._clear_overlays()
        self._hide_segmentations()
        _SHOW[mode](self, run, run.fixed, run.node(self._upper_key()))
        if first and not had_background:
            fit(self.view_names)
        return _lost_outlines(run, before=self.before) if mode is Mode.CONTOURS else ""

    @property
    def has_changed_views(self) -> bool:
        """Whether there is something for `close` to put back."""
        return not self._memory.is_empty

    def remember_views(self) -> None:
        """Remember where the views are and the layout, for `close`; call it before changing them."""
        for node in slice_nodes(self.view_names):
            self._memory.keep(node, "SliceToRAS", "FieldOfView", "XYZOrigin")
        layout = layout_node()
        if layout is not None:
            self._memory.keep(layout, "ViewArrangement")

    def set_opacity(self, opacity: float) -> None:
        """Set the opacity of the upper layer (the blend slider)."""
        self.opacity = opacity
        if self.mode in (Mode.BLEND, Mode.FLICKER, Mode.JACOBIAN):
            for composite in composite_nodes(self.view_names):
                self._memory.set(composite, "ForegroundOpacity", opacity)

    def flicker(self) -> bool:
        """Show the other one of fixed and warped (called by the panel's timer); return whether warped is shown."""
        composites = composite_nodes(self.view_names)
        upper = not any(composite.GetForegroundOpacity() > 0.5 for composite in composites)
        for composite in composites:
            self._memory.set(composite, "ForegroundOpacity", 1.0 if upper else 0.0)
        return upper

    def show_before(self, before: bool) -> None:
        """Show the moving volume as it was, or as it is warped."""
        if self.run is not None and self.mode is not None:
            self.show(self.run, self.mode, before=before)

    def set_linked(self, linked: bool) -> None:
        """Link the slice views, so that one zooms and pans them all."""
        for composite in composite_nodes(self.view_names):
            self._memory.set(composite, "LinkedControl", int(linked))
            self._memory.set(composite, "HotLinkedControl", int(linked))

    def jump(self, spot: Spot) -> None:
        """Center every slice view and the crosshair on a spot."""
        self.remember_views()
        point = flipped(spot.point_mm).tolist()
        for node in slice_nodes(self.view_names):
            node.JumpSliceByCentering(*point)
        crosshair = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLCrosshairNode")
        if crosshair is not None:
            self._memory.set(crosshair, "CrosshairMode", crosshair.ShowSmallBasic)
            crosshair.SetCrosshairRAS(*point)

    def worst_disagreements(self, run: Run, *, count: int = 10) -> list[Spot]:
        """Return where the warped volume fits the fixed one worst; computes, see `preparation`."""
        from .spots import disagreements

        check(run, Mode.DIFFERENCE, before=False)
        fixed, warped = (self._cache.get(run, key) for key in ("fixed", "warped"))
        return disagreements(fixed, warped, grid_of(run.fixed), count=count)

    def close(self, *, places: bool = True) -> None:
        """Put the views back as the user had them and remove every node made for looking.

        Parameters
        ----------
        places : bool
            Whether slice offset, field of view and layout go back, too.
        """
        self._clear_overlays()
        self._memory.restore(places=places)
        self._layers.remove()
        self._cache.clear()
        self.run = self.mode = None

    def _upper_key(self, before: bool | None = None) -> str:
        return "moving" if (self.before if before is None else before) else "warped"

    def _clear_overlays(self) -> None:
        from .volumes import remove_node

        for node in self._extra:
            remove_node(node)
        self._extra.clear()
        for node in self._layers.existing():
            colors.hide_legend(node)

    def _set_layers(
        self, background: Any, foreground: Any = None, *, opacity: float = 1.0, add: bool = False, label: Any = None
    ) -> None:
        compositing = slicer.vtkMRMLSliceCompositeNode.Add if add else slicer.vtkMRMLSliceCompositeNode.Alpha
        for composite in composite_nodes(self.view_names):
            change = composite.StartModify()
            for layer, node in (("Background", background), ("Foreground", foreground), ("Label", label)):
                self._memory.set(composite, f"{layer}VolumeID", node.GetID() if node is not None else None)
            self._memory.set(composite, "Compositing", compositing)
            self._memory.set(composite, "ForegroundOpacity", opacity)
            composite.EndModify(change)

    def _hide_segmentations(self) -> None:
        """Hide every segmentation, those of other runs too, which would cover what is compared."""
        scene = slicer.mrmlScene
        for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
            display = scene.GetNthNodeByClass(index, "vtkMRMLSegmentationNode").GetDisplayNode()
            if display is not None and display.GetVisibility():
                self._memory.set(display, "Visibility", 0)

    def _show_blend(self, run: Run, fixed: Any, upper: Any) -> None:
        self._set_layers(fixed, upper, opacity=1.0 if self.mode is Mode.FLICKER else self.opacity)

    def _show_checkerboard(self, run: Run, fixed: Any, _upper: Any) -> None:
        grid = grid_of(fixed)
        pair = self._cache.get(run, "fixed"), self._cache.get(run, self._upper_key())
        voxels = image_of(comparison.checkerboard(*pair, grid, self.tile_mm))
        self._set_layers(self._layers.fill("checkerboard", voxels, grid, low=0, high=255, color=GRAY))

    def _show_difference(self, run: Run, fixed: Any, _upper: Any) -> None:
        voxels = self._cache.get(run, f"difference {self._upper_key()}")
        table = self._layers.color("difference", colors.difference_table)
        node = self._layers.fill("difference", voxels, grid_of(fixed), low=-60, high=60, color=table)
        self._set_layers(node)
        title = _("Moving - fixed\n(% of window)") if self.before else _("Warped - fixed\n(% of window)")
        colors.show_legend(node, title, text_format="%.0f")

    def _show_contours(self, run: Run, fixed: Any, upper: Any) -> None:
        if _has_outlines(run):
            self._set_layers(upper)
            self._extra += show_segmentations(run, before=self.before)
            return
        table = self._layers.color("levels", lambda name: colors.label_table(name, [(1, 0.85, 0.1), (0.2, 0.9, 1)]))
        node = self._layers.labels("levels", self._cache.get(run, "levels"), grid_of(fixed), table)
        self._set_layers(upper, label=node)
        for view in slice_nodes(self.view_names):
            self._memory.set(view, "UseLabelOutline", 1)
        for composite in composite_nodes(self.view_names):
            self._memory.set(composite, "LabelOpacity", 1.0)

    def _show_red_cyan(self, run: Run, fixed: Any, upper: Any) -> None:
        red = self._layers.color("red", lambda name: colors.ramp_table(name, colors.RED))
        cyan = self._layers.color("cyan", lambda name: colors.ramp_table(name, colors.CYAN))
        layers = self._layers.tinted("red", fixed, red), self._layers.tinted("cyan", upper, cyan)
        self._set_layers(*layers, opacity=1.0, add=True)

    def _show_warp(self, run: Run, fixed: Any, upper: Any) -> None:
        self._set_layers(fixed if self.mode is Mode.GLYPHS else upper)
        mapping = self._cache.get(run, "warp")
        self._extra += show_warp(run, mapping, glyphs=self.mode is Mode.GLYPHS, spacing_mm=self.spacing_mm)

    def _show_jacobian(self, run: Run, fixed: Any, _upper: Any) -> None:
        table = self._layers.color("log Jacobian", colors.jacobian_table)
        node = self._layers.fill(
            "log Jacobian",
            self._cache.get(run, "log_jacobian"),
            grid_of(run.jacobian),
            low=comparison.FOLD_CODE,
            high=comparison.LOG_RANGE,
            color=table,
        )
        # Codes must not be mixed: between a fold and its neighbor every color would appear.
        node.GetDisplayNode().SetInterpolate(False)
        self._set_layers(fixed, node, opacity=self.opacity)
        colors.show_legend(node, _("log Jacobian\n(green: folded)"), ticks=8)


_SHOW = {
    Mode.BLEND: Inspection._show_blend,
    Mode.FLICKER: Inspection._show_blend,
    Mode.CHECKERBOARD: Inspection._show_checkerboard,
    Mode.DIFFERENCE: Inspection._show_difference,
    Mode.CONTOURS: Inspection._show_contours,
    Mode.RED_CYAN: Inspection._show_red_cyan,
    Mode.GRID: Inspection._show_warp,
    Mode.GLYPHS: Inspection._show_warp,
    Mode.JACOBIAN: Inspection._show_jacobian,
}


def check(run: Run, mode: Mode, *, before: bool) -> None:
    """Raise `RegistrationError` when a node that a mode needs was deleted."""
    for role in _needed(mode, before=before):
        run.need(role)


def _needed(mode: Mode, *, before: bool) -> tuple[str, ...]:
    if mode is Mode.JACOBIAN:
        return "fixed", "jacobian"
    upper = "moving" if before else "warped"
    return ("fixed", upper, "transform") if mode in (Mode.GRID, Mode.GLYPHS) else ("fixed", upper)


def _has_outlines(run: Run) -> bool:
    node = run.node("fixed_labels")
    return node is not None and node.IsA("vtkMRMLSegmentationNode")


def _lost_outlines(run: Run, *, before: bool) -> str:
    """Return which outlines are missing because their segmentation was deleted."""
    lost = [role for role in ("fixed_labels", "moving_labels" if before else "warped_labels") if run.lost(role)]
    if "fixed_labels" in lost:
        return _("The fixed segmentation was deleted: the contours are those of the fixed volume's intensities.")
    if lost:
        return _("The {what} was deleted: only the fixed contours are shown.").format(what=ROLE_TITLES[lost[0]])
    return ""
