"""Landmarks of both sides meet by name, or in their order, and what has no partner is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from DeepVsClassicRegLib.core.errors import RegistrationError
from DeepVsClassicRegLib.core.images.points import paired_landmarks, read_landmarks

from . import Call, Case, Gives, Refused, Run


def pair(fixed: str, moving: str) -> Callable[[Path], Call]:
    """Return a build function for two .csv files, given as 'name x' with x the first coordinate."""

    def build(folder: Path) -> Call:
        for side, rows in (("fixed", fixed), ("moving", moving)):
            lines = [f"{name},{x},0,0" for name, x in (row.split(" ") for row in rows.split(", "))]
            (folder / f"{side}.csv").write_text("\n".join(["name,x,y,z", *lines]) + "\n")
        return lambda: paired_landmarks(*(read_landmarks(folder / f"{side}.csv") for side in ("fixed", "moving")))

    return build


def meets(*truth: tuple[float, float], notes: Sequence[str] = (), silent: Sequence[str] = ()) -> Gives:
    """Expect these pairs of first coordinates."""

    def read(run: Run) -> list[tuple[float, float]]:
        both = zip(run.value.fixed_mm, run.value.moving_mm, strict=True)
        return [(float(fixed[0]), float(moving[0])) for fixed, moving in both]

    return Gives([tuple(map(float, entry)) for entry in truth], read=read, notes=notes, silent=silent)


PAIR_CASES = [
    Case(
        "E",
        "same names, same order",
        pair("a 1, b 2", "a 11, b 12"),
        meets((1, 11), (2, 12), silent=["paired", "partner"]),
    ),
    Case(
        "E",
        "same names, another order",
        pair("a 1, b 2, c 3", "c 13, a 11, b 12"),
        meets((1, 11), (2, 12), (3, 13), notes=["paired by name", "another order"]),
    ),
    Case(
        "E",
        "names in another case",
        pair("Nose 1, Chin 2", "chin 12, NOSE 11"),
        meets((1, 11), (2, 12), notes=["by name"]),
    ),
    Case(
        "E",
        "one landmark more on one side",
        pair("a 1, b 2, c 3", "a 11, c 13"),
        meets((1, 11), (3, 13), notes=["1 fixed landmark", "b"]),
    ),
    Case(
        "E",
        "landmarks without partner on both sides",
        pair("a 1, b 2", "a 11, x 19"),
        meets((1, 11), notes=["1 fixed", "b", "1 moving", "x"]),
    ),
    Case(
        "E",
        "no name shared, same count",
        pair("F-1 1, F-2 2", "M-1 11, M-2 12"),
        meets((1, 11), (2, 12), notes=["share no name", "in their order"]),
    ),
    Case(
        "E",
        "no name shared, other count",
        pair("F-1 1, F-2 2", "M-1 11"),
        Refused(RegistrationError, "2 fixed, 1 moving", "share no name"),
    ),
    Case(
        "E",
        "repeated names, same count",
        pair("p 1, p 2", "p 11, q 12"),
        meets((1, 11), (2, 12), notes=["repeat", "in their order"]),
    ),
    Case(
        "E",
        "repeated names, other count",
        pair("p 1, p 2, q 3", "p 11, q 13"),
        Refused(RegistrationError, "3 fixed, 2 moving", "repeat", "'p'"),
    ),
    Case(
        "E",
        "a pair whose partner is not placed",
        pair("a 1, b 2, c 3", "a 11, b nan, c 13"),
        meets((1, 11), (3, 13), notes=["1 pair", "b", "not placed on both sides"]),
    ),
    Case(
        "E",
        "by order with a gap",
        pair("F-1 1, F-2 nan, F-3 3", "M-1 11, M-2 12, M-3 13"),
        meets((1, 11), (3, 13), notes=["1 pair", "F-2"]),
    ),
    Case(
        "E",
        "no pair placed on both sides",
        pair("a 1, b nan", "a nan, b 12"),
        Refused(RegistrationError, "No landmark is placed on both sides"),
    ),
]

CASES = PAIR_CASES
