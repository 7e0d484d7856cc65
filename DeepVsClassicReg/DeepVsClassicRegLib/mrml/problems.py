"""What is wrong with the inputs, said so that a clinician can mend it; quick enough for every click."""

from __future__ import annotations

from dataclasses import dataclass

from .inputs import Inputs

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Problem:
    """One thing that is missing or wrong.

    Attributes
    ----------
    role : str
        Which input, a key of `inputs.TITLES`.
    message, hint : str
        What is wrong; how to mend it.
    severity : {'error', 'warning'}
        Errors forbid the run, warnings do not.
    """

    role: str
    message: str
    hint: str = ""
    severity: str = ERROR

    @property
    def is_error(self) -> bool:
        """Whether it forbids the run."""
        return self.severity == ERROR

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


def problems(inputs: Inputs) -> list[Problem]:
    """Return everything that is missing or wrong, errors first; empty when all is well."""
    raise NotImplementedError
