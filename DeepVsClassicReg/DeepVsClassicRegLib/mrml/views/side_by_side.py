"""Side by side: fixed volume, warped volume and their overlay in three linked views of a layout of their own."""

from __future__ import annotations

from ..runs import Run
from ..slice_display import SliceDisplay, fit
from .base import SliceView

LAYOUT = 7371  # any number above those of Slicer's own layouts
# Without blanks: they become part of node ids, which MRML lists separated by blanks.
FIXED, UPPER, OVERLAY = VIEWS = ("RegistrationFixed", "RegistrationMoving", "RegistrationOverlay")
_LABELS = {FIXED: ("F", "#d4a017"), UPPER: ("M", "#2a9d9d"), OVERLAY: ("O", "#8a8a8a")}
GROUP = 7  # only views of a group are linked: the user's own views stay where they are


def show(slices: SliceDisplay, run: Run) -> None:
    """Show the fixed volume, the upper one, and the upper one over the fixed one."""
    is_new = slices.arrange(LAYOUT, layout_description(), VIEWS)
    slices.set_layers(run.fixed, names=(FIXED,))
    slices.set_layers(slices.upper_node(run), names=(UPPER,))
    slices.set_layers(run.fixed, slices.upper_node(run), opacity=slices.options.opacity, names=(OVERLAY,))
    slices.link(VIEWS)
    if is_new:
        fit(VIEWS, keep_slice=True)


def layout_description() -> str:
    """Return the layout as Slicer describes layouts, in XML."""
    views = "".join(
        f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">'
        '<property name="orientation" action="default">Axial</property>'
        f'<property name="viewlabel" action="default">{label}</property>'
        f'<property name="viewcolor" action="default">{color}</property>'
        f'<property name="viewgroup" action="default">{GROUP}</property>'
        "</view></item>"
        for name, (label, color) in _LABELS.items()
    )
    return f'<layout type="horizontal" split="true">{views}</layout>'


SLICE_VIEW = SliceView(show)
