"""Copies of the inputs that no longer depend on the scene, and their files for the worker."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass

from ..core.images.grid import Grid
from .inputs import Inputs


@dataclass(frozen=True)
class LabelStyle:
    """How a label is called and colored: taken from the moving segment, else from the fixed one."""

    name: str
    color: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The inputs as they were at one moment; free of nodes, so any thread may write it.

    Attributes
    ----------
    fixed_grid : Grid
        World geometry of the fixed volume (linear parent transforms hardened into it).
    labels : mapping of int to LabelStyle
        Label number -> name and color, the same on both sides.
    """

    fixed_grid: Grid
    labels: Mapping[int, LabelStyle]

    @property
    def label_names(self) -> dict[str, str]:
        """Number -> name as the worker's job wants it (`Job.label_names`)."""
        return {str(number): style.name for number, style in self.labels.items()}

    def write(self, folder: str | os.PathLike[str]) -> dict[str, str]:
        """Write every input into a folder and return role -> file name, as `Job.inputs` wants it.

        Safe in any thread. Segmentations are brought onto their volume's grid here.

        Raises
        ------
        FileError
            When a file cannot be written.
        RegistrationError
            When an input is unfit after all.
        """
        raise NotImplementedError


def snapshot_steps(inputs: Inputs) -> Generator[str, None, Snapshot]:
    """Copy the inputs piece by piece; run in the main thread, one `next()` per timer tick.

    Yields
    ------
    str
        What was copied, between pieces that each take well under 50 ms.

    Returns
    -------
    Snapshot
        The value of `StopIteration`, when all is copied.

    Raises
    ------
    RegistrationError
        When there is a problem of severity error.
    """
    raise NotImplementedError


def snapshot(inputs: Inputs) -> Snapshot:
    """Copy the inputs at once (console, tests)."""
    raise NotImplementedError


def write_inputs(inputs: Inputs, folder: str | os.PathLike[str]) -> dict[str, str]:
    """Copy and write the inputs at once and return role -> file name."""
    return snapshot(inputs).write(folder)
