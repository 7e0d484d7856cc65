"""What the evaluation needs of an engine's result; engines are not imported here, they come later in the house."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..transforms.transform import Transform


class Run(Protocol):
    """How a run went (`engines.base.Diagnostics`)."""

    @property
    def trace(self) -> Sequence[Any]:
        """Points with `stage`, `iteration` and `metric`."""

    @property
    def stop_condition(self) -> str:
        """Why it ended."""

    @property
    def seconds(self) -> Mapping[str, float]:
        """Wall seconds per stage."""

    @property
    def cpu_seconds(self) -> Mapping[str, float]:
        """CPU seconds per stage."""

    @property
    def device(self) -> str:
        """Where it ran."""

    @property
    def threads(self) -> int:
        """With how many threads."""

    @property
    def seed(self) -> int:
        """With which seed."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the packages that did the work."""

    @property
    def peak_memory_mb(self) -> float | None:
        """Peak resident memory."""

    @property
    def confidence(self) -> float | None:
        """Confidence of the linear alignment."""

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know."""


class Outcome(Protocol):
    """What an engine returns (`engines.base.Result`)."""

    @property
    def transform(self) -> Transform:
        """The complete fixed-to-moving map."""

    @property
    def start(self) -> Transform | None:
        """Where the deformable part began."""

    @property
    def diagnostics(self) -> Run:
        """How it went."""

    @property
    def engine(self) -> str:
        """Who made it."""

    @property
    def preset(self) -> str:
        """With which preset."""

    @property
    def settings(self) -> Any:
        """The settings dataclass."""
