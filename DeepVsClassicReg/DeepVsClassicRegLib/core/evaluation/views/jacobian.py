"""Jacobian: the local volume change from fixed to moving, with folds marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..colors import FOLD
from ..plotting import EXTENT, INK, Draw, diverging
from .base import Legend, View

if TYPE_CHECKING:
    from ..figures import Pictures, Side

LIMIT = 1.0  # natural logarithm at the ends of the color scale: 0.37 times to 2.7 times the volume
FOLD_CODE = -1.5


def coded_log_jacobian(determinant: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the natural logarithm of the determinant, clipped to -1..1, and `FOLD_CODE` in folds."""
    folded = determinant <= 0
    logs = np.log(np.where(folded, 1, determinant), dtype=np.float32)
    np.clip(logs, -LIMIT, LIMIT, out=logs)
    logs[folded] = FOLD_CODE
    return logs


def _row(pictures: Pictures, _side: Side) -> Draw:
    values = pictures.slices.values(pictures.evaluation.jacobian, fill=1.0)
    inside = pictures.slices.inside()

    def draw(axes: Any, n: int) -> None:
        logs = coded_log_jacobian(values[n])
        folded = logs == FOLD_CODE
        visible = np.where(inside[n], 1.0, 0.25)
        shown = np.ma.masked_array(logs, folded)
        axes.imshow(shown, cmap=diverging(), vmin=-LIMIT, vmax=LIMIT, alpha=visible, **EXTENT)
        folds = np.zeros((*logs.shape, 4))
        folds[folded] = (*FOLD, 1.0)
        folds[..., 3] *= visible
        axes.imshow(folds, **EXTENT)
        axes.contour(inside[n], levels=[0.5], colors=[INK], linewidths=0.5, alpha=0.6)

    return draw


LEGEND = Legend(
    title="log Jacobian",
    note="green: folded",
    low=-LIMIT,
    high=LIMIT,
    names={
        -LIMIT: f"{-LIMIT:g}\n({np.exp(-LIMIT):.2g} times)",
        0: "0\n(same volume)",
        LIMIT: f"{LIMIT:g}\n({np.exp(LIMIT):.2g} times)",
    },
    marks_folds=True,
    ticks=6,
)

VIEW = View(
    name="jacobian",
    title="Jacobian",
    caption="Local volume change from fixed to moving (logarithm of the Jacobian determinant): orange where tissue is "
    "larger in the moving volume, blue where it is smaller. Smooth, moderate colors are plausible; green marks folds, "
    "which are impossible for tissue.",
    needs=("fixed", "jacobian"),
    options={"opacity": "Opacity:"},
    legend=LEGEND,
    row=_row,
    before=False,
)
