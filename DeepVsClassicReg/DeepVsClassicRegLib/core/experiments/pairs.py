"""Which subjects are registered to which."""

from __future__ import annotations

import numpy as np


def drawn_pairs(count: int, most: int, *, seed: int) -> list[tuple[int, int]]:
    """Return ordered pairs of `count` subjects, at most so many (0: all), drawn evenly over the fixed ones."""
    every = [(a, b) for a in range(count) for b in range(count) if a != b]
    if not most or most >= len(every):
        return every
    rng = np.random.default_rng(seed)
    # Partners in a random circle: every subject is fixed and moving about equally often.
    order = rng.permutation(count)
    shifts = 1 + rng.permutation(count - 1)
    circle = [(int(order[n]), int(order[(n + shift) % count])) for shift in shifts for n in range(count)]
    return sorted(circle[:most])
