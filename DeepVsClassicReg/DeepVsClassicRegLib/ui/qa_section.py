"""Looking at the shown run in the slice views: modes, before and after, and the places that deserve a look."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from ..core.errors import RegistrationError
from ..mrml.display import Inspection, Mode, check
from ..mrml.runs import Run
from ..mrml.spots import Spot, lowest_dice, worst_folds
from .scheduling import BackgroundCall
from .validation import line

BUTTONS = {
    Mode.BLEND: "blendButton",
    Mode.FLICKER: "flickerButton",
    Mode.CHECKERBOARD: "checkerboardButton",
    Mode.DIFFERENCE: "differenceButton",
    Mode.CONTOURS: "contoursButton",
    Mode.RED_CYAN: "redCyanButton",
    Mode.GRID: "gridButton",
    Mode.GLYPHS: "glyphsButton",
    Mode.JACOBIAN: "jacobianButton",
}
# Sliders, by the first part of their widgets' names, and the modes they belong to.
OPTIONS = {
    "opacity": (Mode.BLEND, Mode.JACOBIAN),
    "tile": (Mode.CHECKERBOARD,),
    "spacing": (Mode.GRID, Mode.GLYPHS),
    "flicker": (Mode.FLICKER,),
}
# What a mode shows that a run may lack; without it the button is disabled.
SHOWN_ROLES = {Mode.GRID: "transform", Mode.GLYPHS: "transform", Mode.JACOBIAN: "jacobian"}
REDRAW_MS = 150


class QaSection:
    """Mode buttons, sliders and jumps.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._inspection: Inspection | None = None
        self._run: Run | None = None
        self._wanted: Mode | None = None
        self._preparing: BackgroundCall | None = None
        self._spots: dict[str, tuple[list[Spot], int]] = {}
        self._complaining = False
        self._flicker, self._redraw = qt.QTimer(), qt.QTimer()
        self._flicker.connect("timeout()", self._on_flicker)
        self._redraw.setSingleShot(True)
        self._redraw.interval = REDRAW_MS
        self._redraw.connect("timeout()", self._show_again)
        for mode, name in BUTTONS.items():
            getattr(ui, name).connect("clicked()", lambda mode=mode: self.show(mode))
        ui.opacitySlider.connect("valueChanged(double)", self._on_opacity)
        ui.tileSlider.connect("valueChanged(double)", lambda _value: self._redraw.start())
        ui.spacingSlider.connect("valueChanged(double)", lambda _value: self._redraw.start())
        ui.flickerSlider.connect("valueChanged(double)", self._on_flicker_time)
        ui.beforeButton.connect("toggled(bool)", self._on_before)
        ui.linkedButton.connect("toggled(bool)", self._on_linked)
        ui.closeViewButton.connect("clicked()", self.close)
        ui.foldButton.connect("clicked()", lambda: self._jump("fold", worst_folds, _("Nothing folds.")))
        ui.disagreementButton.connect(
            "clicked()", lambda: self._jump("disagreement", self._disagreements, _("Nothing disagrees."), compares=True)
        )
        ui.structureButton.connect(
            "clicked()", lambda: self._jump("structure", lowest_dice, _("No structure was measured."))
        )
        self._show_options()

    @property
    def mode(self) -> Mode | None:
        """What is shown, None while the views are the user's own."""
        return self._wanted

    @property
    def busy(self) -> bool:
        """Whether something is still computed to be shown."""
        return self._preparing is not None

    def set_run(self, run: Run | None) -> None:
        """Look at another run in the same way, or at none."""
        self._run, self._spots = run, {}
        self._say("")
        self._enable(run)
        if run is None:
            self.close()
        elif self._wanted is not None:
            self.show(self._wanted)

    def show(self, mode: Mode) -> None:
        """Show the run in a mode; when a node that it needs was deleted, tell so and leave the views as they are."""
        run = self._run
        if run is None:
            return
        error = self._obstacle(run, mode)
        if error is not None:
            self._cannot_show(run, error)
            return
        self._wanted = mode
        self._mark_buttons()
        self._show_options()
        before = self._ui.beforeButton.checked
        self._prepare(run, mode, lambda: self._show_now(mode), before=before)

    def can_show(self, mode: Mode) -> bool:
        """Whether the run has all nodes that a mode needs."""
        return self._run is not None and self._obstacle(self._run, mode) is None

    def follow_nodes(self) -> None:
        """End the comparison and tell why when a node that it shows was deleted."""
        if self._run is None or self._wanted is None:
            return
        error = self._obstacle(self._run, self._wanted)
        if error is not None:
            self.close()
            self._complain(error)

    def before_other_views(self) -> None:
        """Remember the views before something else changes them, such as a plot, for *Restore views*."""
        if self._run is not None:
            self._need_inspection().remember_views()
            self._show_options()

    def close(self, *, places: bool = True) -> None:
        """Put the views back as the user had them; without `places` they stay where they are."""
        self._flicker.stop()
        self._redraw.stop()
        self._stop_preparing()
        self._wanted = None
        inspection, self._inspection = self._inspection, None
        if inspection is not None:
            inspection.close(places=places)
        self._mark_buttons()
        for button in (self._ui.beforeButton, self._ui.linkedButton):
            _set_silently(button, False)
        self._show_options()

    def go_to(self, spot: Spot) -> None:
        """Show a place of the run in all views."""
        if self._run is not None:
            self._need_inspection().jump(spot)
            self._show_options()
            self._say(html.escape(spot.text))

    def _enable(self, run: Run | None) -> None:
        """Enable what the run was made with; what was deleted since stays enabled and tells so when it is pressed."""
        for mode, name in BUTTONS.items():
            role = SHOWN_ROLES.get(mode, "warped")
            getattr(self._ui, name).enabled = run is not None and run.had(role)
        self._ui.beforeButton.enabled = run is not None
        self._ui.foldButton.enabled = run is not None and run.had("jacobian")
        self._ui.disagreementButton.enabled = run is not None and run.had("warped")
        self._ui.structureButton.enabled = run is not None and bool(run.measures.get("dice_per_label"))

    def _obstacle(self, run: Run, mode: Mode) -> RegistrationError | None:
        """Return why a mode cannot be shown."""
        try:
            check(run, mode, before=self._ui.beforeButton.checked)
        except RegistrationError as error:
            return error
        return None

    def _prepare(self, run: Run, mode: Mode, then: Callable[[], None], *, before: bool) -> None:
        """Let a thread compute what a mode needs, and go on when the user has not changed their mind meanwhile."""
        self._stop_preparing()
        work = self._need_inspection().preparation(run, mode, before=before)
        if work is None:
            then()
            return

        def ready(_value: Any, error: BaseException | None) -> None:
            self._preparing = None
            if error is not None:
                self._say(line("error", str(error)))
            elif run is self._run:
                then()

        self._preparing = BackgroundCall(work, ready).start()

    def _stop_preparing(self) -> None:
        if self._preparing is not None:
            self._preparing.abandon(lambda: None)
            self._preparing = None

    def _show_now(self, mode: Mode) -> None:
        if self._run is None or mode is not self._wanted:
            return
        try:
            remark = self._need_inspection().show(
                self._run,
                mode,
                opacity=self._ui.opacitySlider.value,
                tile_mm=self._ui.tileSlider.value,
                spacing_mm=self._ui.spacingSlider.value,
                before=self._ui.beforeButton.checked,
            )
        except RegistrationError as error:  # a node was deleted while a thread computed
            self.close()
            self._complain(error)
            return
        if remark:
            self._say(line("warning", remark))
            self._complaining = True
        elif self._complaining:
            self._say("")
        self._show_options()
        if mode is Mode.FLICKER:
            self._on_flicker_time(self._ui.flickerSlider.value)
        else:
            self._flicker.stop()

    def _need_inspection(self) -> Inspection:
        if self._inspection is None:
            self._inspection = Inspection()
        return self._inspection

    def _show_again(self) -> None:
        if self._wanted is not None:
            self.show(self._wanted)

    def _show_options(self) -> None:
        for name, modes in OPTIONS.items():
            for part in ("Label", "Slider"):
                getattr(self._ui, name + part).visible = self._wanted in modes
        if self._wanted in OPTIONS["opacity"]:
            jacobian = self._wanted is Mode.JACOBIAN
            self._ui.opacityLabel.text = _("Opacity:") if jacobian else _("Fixed to warped:")
        if self._wanted in OPTIONS["spacing"]:
            arrows = self._wanted is Mode.GLYPHS
            self._ui.spacingLabel.text = _("Arrow distance:") if arrows else _("Line distance:")
        self._ui.viewOptionsFrame.visible = any(self._wanted in modes for modes in OPTIONS.values())
        changed = self._inspection is not None and self._inspection.has_changed_views
        self._ui.closeViewButton.enabled = changed or self._wanted is not None

    def _on_opacity(self, value: float) -> None:
        if self._inspection is not None and self._wanted in OPTIONS["opacity"]:
            self._inspection.set_opacity(value)

    def _on_flicker_time(self, seconds: float) -> None:
        self._flicker.interval = int(1000 * seconds)
        if self._wanted is Mode.FLICKER:
            self._flicker.start()

    def _on_flicker(self) -> None:
        if self._inspection is not None and self._wanted is Mode.FLICKER:
            self._inspection.flicker()
        else:
            self._flicker.stop()

    def _on_before(self, _before: bool) -> None:
        if self._run is not None:
            self.show(self._wanted or Mode.BLEND)

    def _on_linked(self, linked: bool) -> None:
        if self._run is not None:
            self._need_inspection().set_linked(linked)
            self._show_options()

    def _disagreements(self, run: Run) -> list[Spot]:
        return self._need_inspection().worst_disagreements(run)

    def _jump(self, kind: str, find: Callable[[Run], list[Spot]], nothing: str, *, compares: bool = False) -> None:
        """Go to the worst place, then, with every further press, to the next one."""
        run = self._run
        if run is None:
            return
        if kind in self._spots:
            self._go(kind)
            return

        def go() -> None:
            try:
                spots = find(run)
            except RegistrationError as error:
                self._complain(error)
                return
            self._spots[kind] = (spots, 0)
            if spots:
                self._go(kind)
            else:
                self._say(nothing)

        if not compares:
            go()
            return
        try:
            self._prepare(run, Mode.DIFFERENCE, go, before=False)
        except RegistrationError as error:
            self._complain(error)

    def _go(self, kind: str) -> None:
        spots, number = self._spots[kind]
        if not spots:
            return
        spot = spots[number % len(spots)]
        self._spots[kind] = (spots, number + 1)
        self._need_inspection().jump(spot)
        self._show_options()
        self._say(
            _("{number} of {count}: {text}").format(number=number % len(spots) + 1, count=len(spots), text=spot.text)
        )

    def _say(self, text: str) -> None:
        self._complaining = False
        self._ui.spotLabel.text = text
        self._ui.spotLabel.visible = bool(text)

    def _complain(self, error: RegistrationError) -> None:
        self._say(line("error", error.message, error.hint or ""))
        self._complaining = True

    def _cannot_show(self, run: Run, error: RegistrationError) -> None:
        """Tell why; what is shown stays when it still can be shown."""
        shown = self._inspection is not None and self._wanted is not None
        _set_silently(self._ui.beforeButton, shown and self._inspection.before)
        if self._wanted is not None and self._obstacle(run, self._wanted) is not None:
            self.close()
        self._mark_buttons()
        self._show_options()
        self._complain(error)

    def _mark_buttons(self) -> None:
        """Check the button of what is shown, and no other one."""
        for mode, name in BUTTONS.items():
            button = getattr(self._ui, name)
            button.autoExclusive = False
            button.checked = mode is self._wanted
            button.autoExclusive = True


def _set_silently(button: Any, checked: bool) -> None:
    button.blockSignals(True)
    button.checked = checked
    button.blockSignals(False)
