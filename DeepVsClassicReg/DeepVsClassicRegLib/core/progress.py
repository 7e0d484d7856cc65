"""Progress reports and cancellation of computations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .errors import Cancelled


@dataclass(frozen=True)
class Update:
    """One progress message.

    Attributes
    ----------
    fraction : float
        Completed fraction of the whole job, 0 to 1, never decreasing.
    stage : str
        The current step in words for clinicians ("Affine alignment, level 2 of 3").
    metric : float or None
        The current value of the objective (lower is better), when there is one.
    iteration : int or None
        Iteration within the stage.
    result : str or None
        File in the job folder with a first result, which is there from now on; more follows.
    """

    fraction: float
    stage: str
    metric: float | None = None
    iteration: int | None = None
    result: str | None = None


def _ignore(_update: Update) -> None:
    return None


def _never() -> bool:
    return False


@dataclass
class Progress:
    """Progress of a job or of a part of it, with its cancel check.

    Parameters
    ----------
    listener : callable
        Called with every `Update`.
    cancelled : callable
        Returns True after the user has canceled.
    start, stop : float
        The part of the whole job that this object represents.

    Examples
    --------
    >>> seen = []
    >>> progress = Progress(listener=seen.append)
    >>> progress.part(0.0, 0.5).report(0.5, "Affine alignment")
    >>> seen[0].fraction
    0.25
    """

    listener: Callable[[Update], None] = _ignore
    cancelled: Callable[[], bool] = _never
    start: float = 0.0
    stop: float = 1.0
    _state: dict[str, float] = field(default_factory=lambda: {"highest": 0.0})

    def part(self, start: float, stop: float) -> Progress:
        """Return the progress of the part from `start` to `stop` (fractions of this one)."""
        width = self.stop - self.start
        return Progress(
            listener=self.listener,
            cancelled=self.cancelled,
            start=self.start + start * width,
            stop=self.start + stop * width,
            _state=self._state,
        )

    def report(
        self,
        fraction: float,
        stage: str,
        *,
        metric: float | None = None,
        iteration: int | None = None,
        result: str | None = None,
    ) -> None:
        """Report the progress to the listener, then raise `Cancelled` if the user canceled.

        Parameters
        ----------
        fraction : float
            Completed fraction of *this* part, clipped to 0..1; the fraction of the whole job never decreases.
        stage : str
            The current step.
        metric : float, optional
            Value of the objective, lower is better.
        iteration : int, optional
            Iteration within the stage.
        result : str, optional
            File with a first result, see `Update`.

        Raises
        ------
        Cancelled
            When the user canceled.
        """
        whole = self.start + min(max(fraction, 0.0), 1.0) * (self.stop - self.start)
        self._state["highest"] = max(self._state["highest"], whole)
        self.listener(Update(self._state["highest"], stage, metric, iteration, result))
        self.check()

    def check(self) -> None:
        """Raise `Cancelled` when the user canceled."""
        if self.cancelled():
            raise Cancelled


def json_update(update: Update) -> dict[str, Any]:
    """Return the update as plain JSON values without empty entries."""
    entries = {
        "fraction": round(update.fraction, 4),
        "stage": update.stage,
        "metric": update.metric,
        "iteration": update.iteration,
        "result": update.result,
    }
    return {key: value for key, value in entries.items() if value is not None}
