"""Models and methods as the panel shows them: suggestions of a setting, table rows, cards and methods as pages."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

from ..core.device import Compute
from ..core.engines.similarity_models import FEATURE_KIND, FEATURE_PREFIX, METRIC_KINDS, METRIC_PREFIX
from ..core.job import METHODS
from ..core.networks.card import Model
from ..core.networks.model_store import facts, find_models, headline
from ..mrml.inputs import Inputs
from ..worker.session import FINISHED
from .runner import Runner
from .scheduling import Signal
from .tasks import QueryTask

LISTING = "models"
AUTO = "auto"
KINDS_OF_PREFIX = {METRIC_PREFIX: METRIC_KINDS, FEATURE_PREFIX: (FEATURE_KIND,)}


def suggestions(listing: str) -> list[tuple[str, str]]:
    """Return (value, tooltip) of the suggestions of a setting whose choices are known only at run time.

    The listing 'models' names models that register, 'models:metric,error' those of other kinds; the prefixes 'metric:'
    and 'features:' name models with the prefix in front.
    """
    if listing in KINDS_OF_PREFIX:
        cards = [model.card for model in find_models() if model.card.kind in KINDS_OF_PREFIX[listing]]
        return [(listing + card.name, f"{card.title}: {card.summary}") for card in cards]
    name, _colon, kinds = listing.partition(":")
    if name != LISTING:
        return []
    wanted = kinds.split(",") if kinds else ["field"]
    models = [model for model in find_models() if model.card.kind in wanted]
    automatic = (AUTO, _("The model whose training images resemble the volumes, or else one for any anatomy."))
    if kinds:
        automatic = (AUTO, _("The model that ships with the extension."))
    return [automatic, *((model.card.name, f"{model.card.title}: {model.card.summary}") for model in models)]


def columns() -> list[str]:
    """Return the titles of the table's columns."""
    return [_("Model"), _("Method"), _("Anatomy"), _("Contrasts"), _("Voxels"), _("Validation"), _("License")]


def row(model: Model) -> list[str]:
    """Return the table's cells for a model."""
    card = model.card
    size = f"{card.spacing_mm:g} mm"
    return [card.title, card.method, card.anatomy, card.contrasts, size, headline(card), card.licence]


def page(model: Model) -> str:
    """Return a model's card as rich text."""
    rows = "".join(
        f'<tr><td style="padding-right:12px"><b>{html.escape(title)}</b></td><td>{html.escape(text)}</td></tr>'
        for title, text in facts(model).items()
    )
    return f"<h3>{html.escape(model.card.title)}</h3><table>{rows}</table>"


class MethodList:
    """The methods that can be trained, read once by a worker: reading them imports PyTorch, which would slow Slicer.

    Parameters
    ----------
    runner : Runner
        Starts the worker.

    Attributes
    ----------
    methods : list of mapping
        See `core.networks.method_facts`; empty until they are read.
    ended : Signal
        Emits (message, hint) after reading: the reason why there is no list, or empty texts.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._query: QueryTask | None = None
        self.methods: list[Mapping[str, Any]] = []
        self.ended = Signal()

    @property
    def waiting(self) -> bool:
        """Whether the list is being read."""
        return self._query is not None

    def read(self) -> None:
        """Read the list, unless it is being read already."""
        if self._query is None:
            self._query = self._runner.query(METHODS, Inputs(), Compute(device="cpu", threads=1))
            self._query.ended.connect(self._on_ended)

    def forget(self) -> None:
        """Forget the list; packages may change before it is read again."""
        self.methods = []

    def _on_ended(self, query: QueryTask) -> None:
        self._query = None
        if query.state == FINISHED:
            self.methods = list(query.answer["methods"])
        self.ended.emit(query.message, query.hint)


def methods_page(methods: Sequence[Mapping[str, Any]]) -> str:
    """Return all methods that `dvcreg train` trains as rich text."""
    titles = (_("Method"), _("Kind"), _("Supervision"), _("Dimensions"), _("Parameters"), _("Paper"))
    rows = [titles]
    for method in methods:
        rows.append(
            (
                f"{method['title']} ({method['name']})",
                method["kind"],
                ", ".join(method["supervision"]),
                ", ".join(f"{number}D" for number in method["dimensions"]),
                f"{method['parameters']:,}",
                method["citation"],
            )
        )
    cells = [
        "".join(f'<{tag} align="left" style="padding-right:12px">{html.escape(text)}</{tag}>' for text in row)
        for tag, row in zip(["th"] + ["td"] * len(rows), rows, strict=False)
    ]
    table = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<h3>{_('Methods that can be trained with dvcreg train')}</h3><table>{table}</table>"
