"""Selects the model of an agent, by name or the one that is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import FileError, RegistrationError
from ...networks.card import Model

if TYPE_CHECKING:
    from ...networks.card import Card

AUTO = "auto"


def agent_model(name: str, method: str) -> Model:
    """Return the model of an agent.

    Parameters
    ----------
    name : str
        Name or folder; 'auto' is the first one that is installed, bundled ones first.
    method : str
        Method whose actions the engine can take.

    Raises
    ------
    FileError
        When there is none of this name, or none at all.
    RegistrationError
        When it is another kind of model, or of another method.
    """
    from ...networks.catalogue import get_method
    from ...networks.model_store import find_models, get_model

    wanted = type(get_method(method))
    if name == AUTO:
        found = [model for model in find_models() if _fits(model, wanted)]
        if not found:
            raise FileError(
                f"No model of the method '{method}' is installed.",
                hint=f"Train one (`dvcreg train --method {method} ...`) and give its model folder as 'model', or add "
                "it with `dvcreg models add`.",
            )
        return found[0]
    model = get_model(name)
    if not _fits(model, wanted):
        card = model.card
        raise RegistrationError(
            f"Model '{card.name}' is of kind '{card.kind}', method '{card.method}'; an agent of the method '{method}' "
            "is needed.",
            hint=_hint(card, method),
        )
    return model


def _hint(card: Card, method: str) -> str:
    if card.kind == "agent":
        return "Choose the other engine of agents: 'agent' for rigid ones, 'agent-deformable' for deformable ones."
    return f"Choose a model that was trained with `dvcreg train --method {method}` (`dvcreg models`)."


def _fits(model: Model, wanted: Any) -> bool:
    from ...networks.catalogue import METHODS, get_method

    card = model.card
    known = card.kind == "agent" and card.dimensions == 3 and card.method in METHODS
    return known and isinstance(get_method(card.method), wanted)
