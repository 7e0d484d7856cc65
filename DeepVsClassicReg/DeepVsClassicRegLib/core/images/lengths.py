"""Lengths as people read them, from microscopes to whole bodies."""

from __future__ import annotations

import numpy as np

STEPS = (1.0, 2.0, 3.0, 5.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0)


def length_text(length_mm: float) -> str:
    """Return a length in millimeters with one decimal, or with two digits when it is shorter than a millimeter.

    Examples
    --------
    >>> length_text(12.34), length_text(0.0123), length_text(0)
    ('12.3 mm', '0.012 mm', '0.0 mm')
    """
    return f"{length_mm:.2g} mm" if 0 < abs(length_mm) < 0.95 else f"{length_mm:.1f} mm"


def nearest_step(length_mm: float) -> float:
    """Return the round length nearest to a given one: 1, 2, 3, 5, 8, 10 mm ... or the same at another power of ten.

    Examples
    --------
    >>> nearest_step(7.0), nearest_step(0.07), nearest_step(70.0)
    (8.0, 0.08, 80.0)
    """
    power = 10.0 ** np.floor(np.log10(length_mm))
    decade = 1.0 if 1 <= length_mm <= STEPS[-1] else power
    best = min(STEPS, key=lambda step: abs(step * decade - length_mm))
    return float(f"{best * decade:.6g}")
