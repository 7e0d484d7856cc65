"""Inspects the shown run in the slice views: view modes, before and after, and jumps to critical locations."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from ..core.errors import RegistrationError
from ..core.evaluation.locations import Location
from ..core.evaluation.views.catalogue import get_view, panel_views
from ..mrml.display import Inspection, check
from ..mrml.runs import Run
from .rich_text import line
from .scheduling import BackgroundCall

COLUMNS = 3
OPTIONS = ("opacity", "tile", "spacing", "flicker")  # first part of the names of their widgets
# Buttons that jump to locations of a kind, and their message when there is none.
JUMPS = {
    "fold": ("foldButton", _("Nothing folds.")),
    "match": ("disagreementButton", _("Nothing disagrees.")),
    "structure": ("structureButton", _("No structure was measured.")),
    "error": ("errorPlaceButton", _("No error was estimated.")),
}
# Kinds of places that a run may have been made without.
ASKED = {"structure", "error"}
REDRAW_MS = 150


class ViewButtons:
    """Creates, enables and checks the buttons.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name; the buttons are added to them, such as `redCyanButton`.
    show : callable
        Called with the name of the view whose button is pressed.
    """

    def __init__(self, ui: Any, show: Callable[[str], None]) -> None:
        self._buttons: dict[str, Any] = {}
        for index, view in enumerate(panel_views()):
            button = qt.QPushButton(view.title)
            button.objectName = _button_name(view.name)
            button.toolTip = view.caption
            button.checkable = button.autoExclusive = True
            button.connect("clicked()", lambda name=view.name: show(name))
            ui.viewFrame.layout().addWidget(button, index // COLUMNS, index % COLUMNS)
            setattr(ui, button.objectName, button)
            self._buttons[view.name] = button

    @property
    def enabled(self) -> list[str]:
        """Names of the views whose buttons are enabled, in their order."""
        return [name for name, button in self._buttons.items() if button.enabled]

    def enable(self, run: Run | None) -> None:
        """Enable the buttons for the nodes of the run; a button whose node was deleted reports that when pressed."""
        for name, button in self._buttons.items():
            shown = [role for role in get_view(name).roles(before=False) if role != "fixed"]
            button.enabled = run is not None and all(run.had(role) for role in shown)

    def mark(self, shown: str) -> None:
        """Check only the button of the current view, in bold: dark styles hardly show what is checked."""
        for name, button in self._buttons.items():
            button.autoExclusive = False
            button.checked = name == shown
            button.autoExclusive = True
            font = button.font
            font.setBold(name == shown)
            button.font = font


def _button_name(view: str) -> str:
    """Return the name of a view's button, such as 'redCyanButton'."""
    first, *others = view.split("-")
    return first + "".join(part.capitalize() for part in others) + "Button"


class QaSection:
    """A button for each view mode, its options, and buttons that jump to locations.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self.inspection: Inspection | None = None
        self._run: Run | None = None
        self._wanted = ""
        self._place = -1  # index of the shown place of `Run.look_at`
        self._place_text = ""  # of the location that was gone to last
        self._preparing: BackgroundCall | None = None
        self._next: dict[str, int] = {}
        self._complaining = False
        self.flicker_timer, self._redraw = qt.QTimer(), qt.QTimer()
        self.flicker_timer.connect("timeout()", self._on_flicker)
        self._redraw.setSingleShot(True)
        self._redraw.interval = REDRAW_MS
        self._redraw.connect("timeout()", self._show_again)
        self._buttons = ViewButtons(ui, self.show)
        ui.opacitySlider.connect("valueChanged(double)", self._on_opacity)
        ui.tileSlider.connect("valueChanged(double)", lambda _value: self._redraw.start())
        ui.spacingSlider.connect("valueChanged(double)", lambda _value: self._redraw.start())
        ui.flickerSlider.connect("valueChanged(double)", self._on_flicker_time)
        ui.beforeButton.connect("toggled(bool)", self._on_before)
        ui.linkedButton.connect("toggled(bool)", self._on_linked)
        ui.closeViewButton.connect("clicked()", self.close)
        for kind, (name, _nothing) in JUMPS.items():
            getattr(ui, name).connect("clicked()", lambda kind=kind: self._jump(kind))
        self._show_options()

    @property
    def view(self) -> str:
        """Name of the shown view mode, empty while the module does not control the views."""
        return self._wanted

    @property
    def caption(self) -> str:
        """Describes what the slice views show: run, view mode and location."""
        parts = [self._run.title] if self._run is not None else []
        if self._wanted:
            title = get_view(self._wanted).title
            before = self._ui.beforeButton.checked
            parts.append(_("{view}, before registration").format(view=title) if before else title)
        return ". ".join([*parts, *([self._place_text] if self._place_text else [])])

    @property
    def busy(self) -> bool:
        """Whether a view is still being computed."""
        return self._preparing is not None

    def set_run(self, run: Run | None) -> None:
        """Show another run in the same view mode, or none."""
        self._run, self._next, self._place, self._place_text = run, {}, -1, ""
        self._say("")
        self._enable(run)
        if run is None:
            self.close()
        elif self._wanted:
            self.show(self._wanted)

    def show(self, view: str) -> None:
        """Show the run in a view mode; when a node that it needs was deleted, report that and change nothing."""
        run = self._run
        if run is None:
            return
        error = self._obstacle(run, view)
        if error is not None:
            self._cannot_show(run, error)
            return
        self._wanted = view
        self._buttons.mark(self._wanted)
        self._show_options()
        before = self._ui.beforeButton.checked
        self._prepare(run, view, lambda: self._show_now(view), before=before)

    def show_next_view(self) -> None:
        """Show the run in the next view mode that it has, after the last one in the first."""
        names = self._buttons.enabled
        if names:
            self.show(names[(names.index(self._wanted) + 1) % len(names) if self._wanted in names else 0])

    def go_to_next(self, step: int) -> None:
        """Go to the next (1) or the previous (-1) of the places where the run should be checked."""
        places = self._run.look_at if self._run is not None else []
        if not places:
            self._say(_("There is no place to look at."))
            return
        self._place = (self._place + step) % len(places) if self._place >= 0 else min(step, 0) % len(places)
        self._visit(places[self._place], self._place, len(places))

    def can_show(self, view: str) -> bool:
        """Whether the run has all nodes that a view needs."""
        return self._run is not None and self._obstacle(self._run, view) is None

    def follow_nodes(self) -> None:
        """End the comparison and report why when a node that it shows was deleted."""
        if self._run is None or not self._wanted:
            return
        error = self._obstacle(self._run, self._wanted)
        if error is not None:
            self.close()
            self._complain(error)

    def before_other_views(self) -> None:
        """Store the views for *Restore views* before something else, such as a plot, changes them."""
        if self._run is not None:
            self._need_inspection().remember_views()
            self._show_options()

    def close(self, *, places: bool = True) -> None:
        """Restore the views of the user; without `places` they keep their position."""
        self.flicker_timer.stop()
        self._redraw.stop()
        self._stop_preparing()
        self._wanted = self._place_text = ""
        inspection, self.inspection = self.inspection, None
        if inspection is not None:
            inspection.close(places=places)
        self._buttons.mark(self._wanted)
        for button in (self._ui.beforeButton, self._ui.linkedButton):
            _set_silently(button, False)
        self._show_options()

    def go_to(self, place: Location) -> None:
        """Show a location of the run in all views."""
        if self._run is not None:
            self._jump_to(place)
            self._say(html.escape(place.text))

    def _enable(self, run: Run | None) -> None:
        """Enable the buttons for the nodes of the run; a button whose node was deleted reports that when pressed."""
        self._buttons.enable(run)
        self._ui.beforeButton.enabled = run is not None
        for kind, (name, _nothing) in JUMPS.items():
            places = run.locations(kind) if run is not None else None
            getattr(self._ui, name).enabled = bool(places) if kind in ASKED else places is not None

    def _obstacle(self, run: Run, view: str) -> RegistrationError | None:
        """Return why a view cannot be shown."""
        try:
            check(run, view, before=self._ui.beforeButton.checked)
        except RegistrationError as error:
            return error
        return None

    def _prepare(self, run: Run, view: str, then: Callable[[], None], *, before: bool) -> None:
        """Compute in a thread what a view needs; continue unless the user has chosen something else meanwhile."""
        self._stop_preparing()
        work = self._need_inspection().preparation(run, view, before=before)
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

    def _show_now(self, view: str) -> None:
        if self._run is None or view != self._wanted:
            return
        is_new = self._need_inspection().view != view
        try:
            remark = self._need_inspection().show(
                self._run,
                view,
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
        if is_new:
            qt.QTimer.singleShot(0, self._fit_new_views)
        if view == "flicker":
            self._on_flicker_time(self._ui.flickerSlider.value)
        else:
            self.flicker_timer.stop()

    def _fit_new_views(self) -> None:
        if self.inspection is not None:
            self.inspection.fit_new_views()

    def _need_inspection(self) -> Inspection:
        if self.inspection is None:
            self.inspection = Inspection()
        return self.inspection

    def _show_again(self) -> None:
        if self._wanted:
            self.show(self._wanted)

    def _show_options(self) -> None:
        labels = self._options()
        for name in OPTIONS:
            for part in ("Label", "Slider"):
                getattr(self._ui, name + part).visible = name in labels
            if name in labels:
                getattr(self._ui, f"{name}Label").text = labels[name]
        self._ui.viewOptionsFrame.visible = bool(labels)
        changed = self.inspection is not None and self.inspection.has_changed_views
        self._ui.closeViewButton.enabled = changed or bool(self._wanted)

    def _on_opacity(self, value: float) -> None:
        if self.inspection is not None and "opacity" in self._options():
            self.inspection.set_opacity(value)

    def _on_flicker_time(self, seconds: float) -> None:
        self.flicker_timer.interval = int(1000 * seconds)
        if self._wanted == "flicker":
            self.flicker_timer.start()

    def _on_flicker(self) -> None:
        if self.inspection is not None and self._wanted == "flicker":
            self.inspection.flicker()
        else:
            self.flicker_timer.stop()

    def _on_before(self, _before: bool) -> None:
        if self._run is not None:
            self.show(self._wanted or "blend")

    def _on_linked(self, linked: bool) -> None:
        if self._run is not None:
            self._need_inspection().set_linked(linked)
            self._show_options()

    def _jump(self, kind: str) -> None:
        """Go to the worst location and, with every further press, to the next one."""
        places = (self._run.locations(kind) if self._run is not None else None) or []
        if not places:
            self._say(JUMPS[kind][1])
            return
        number = self._next.get(kind, 0) % len(places)
        self._next[kind] = number + 1
        self._visit(places[number], number, len(places))

    def _visit(self, place: Location, number: int, count: int) -> None:
        self._jump_to(place)
        text = html.escape(place.text.removesuffix("."))
        self._say(_("{number} of {count}: {text}").format(number=number + 1, count=count, text=text))

    def _jump_to(self, place: Location) -> None:
        self._need_inspection().jump(place)
        self._place_text = place.text
        self._show_options()

    def _say(self, text: str) -> None:
        self._complaining = False
        self._ui.locationLabel.text = text
        self._ui.locationLabel.visible = bool(text)

    def _complain(self, error: RegistrationError) -> None:
        self._say(line("error", error.message, error.hint or ""))
        self._complaining = True

    def _cannot_show(self, run: Run, error: RegistrationError) -> None:
        """Report the reason; the current view stays when it can still be shown."""
        shown = self.inspection if self._wanted else None
        _set_silently(self._ui.beforeButton, shown is not None and shown.options.before)
        if self._wanted and self._obstacle(run, self._wanted) is not None:
            self.close()
        self._buttons.mark(self._wanted)
        self._show_options()
        self._complain(error)

    def _options(self) -> Mapping[str, str]:
        """Return the options of the current view, with their labels."""
        return get_view(self._wanted).options if self._wanted else {}


def _set_silently(button: Any, checked: bool) -> None:
    button.blockSignals(True)
    button.checked = checked
    button.blockSignals(False)
