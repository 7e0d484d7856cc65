"""Records of finished runs, kept in the scene so that a saved scene brings them back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import slicer


@dataclass(frozen=True, eq=False)
class Run:
    """A finished registration; reads and writes its record node.

    Attributes
    ----------
    record : vtkMRMLScriptedModuleNode
        Hidden node that holds what is below; `fixed`, `moving`, `transform`, `warped`, `warped_labels`,
        `jacobian`, `log_jacobian`, `report_table`, `fixed_labels`, `moving_labels`, `fixed_points` and
        `moving_points` are the nodes it refers to, None when absent or deleted since.
    """

    record: slicer.vtkMRMLScriptedModuleNode

    @property
    def title(self) -> str:
        """What a person reads, such as 'MR2 -> MR1 (elastix)'."""
        raise NotImplementedError

    @property
    def engine(self) -> str:
        """Engine name."""
        raise NotImplementedError

    @property
    def preset(self) -> str:
        """Preset name."""
        raise NotImplementedError

    @property
    def report(self) -> Mapping[str, Any]:
        """Content of the worker's report.json."""
        raise NotImplementedError

    @property
    def measures(self) -> Mapping[str, Any]:
        """Measures after the run, named as in `core.evaluation.measures.MEASURES`, and 'seconds'."""
        raise NotImplementedError

    @property
    def measures_before(self) -> Mapping[str, Any]:
        """Measures before the run."""
        raise NotImplementedError


def runs(parameter_node: slicer.vtkMRMLScriptedModuleNode) -> list[Run]:
    """Return the runs a parameter node knows, oldest first."""
    raise NotImplementedError


def forget_run(parameter_node: slicer.vtkMRMLScriptedModuleNode, run: Run, *, delete_outputs: bool = False) -> None:
    """Remove a run's record, and with `delete_outputs` the nodes it made."""
    raise NotImplementedError
