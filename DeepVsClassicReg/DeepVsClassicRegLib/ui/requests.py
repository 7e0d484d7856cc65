"""What the panel or the console asks the runner to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.device import Compute
from ..mrml.inputs import Inputs
from ..mrml.outputs import Targets
from .shared_start import SharedStart


@dataclass(frozen=True, kw_only=True)
class Request:
    """One registration that shall be run.

    Attributes
    ----------
    inputs : Inputs
        The picked nodes.
    engine, preset : str
        Who registers.
    settings : mapping
        Settings changed from the preset.
    compute : Compute
        Device, threads and seed.
    targets : Targets or None
        Nodes to overwrite and outputs wanted.
    parameter_node : callable
        Returns the parameter node that shall know the run when it is published.
    keep_files : bool
        Whether the job folder stays for inspection.
    shared_start : SharedStart or None
        The same for all runs of a comparison, which then share one linear alignment.
    """

    inputs: Inputs
    engine: str
    preset: str = "default"
    settings: Mapping[str, Any] = field(default_factory=dict)
    compute: Compute = field(default_factory=Compute)
    targets: Targets | None = None
    parameter_node: Callable[[], Any] | None = None
    keep_files: bool = False
    shared_start: SharedStart | None = None

    @property
    def name(self) -> str:
        """Engine, with the preset unless it is the default one."""
        return self.engine if self.preset == "default" else f"{self.engine}:{self.preset}"
