"""The advice box: shows which engine the worker recommends for the selected pair, with reasons and a plot."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core.device import Compute
from ..core.job import RECOMMEND
from ..mrml.advice import entry_title, update_advice_plot, update_advice_table
from ..mrml.inputs import Inputs, fingerprint
from ..worker.session import CANCELLED, FINISHED
from . import rich_text
from .preferences import Preferences, SceneParameters, scene_chart, scene_table
from .rich_text import line
from .runner import Runner
from .scheduling import Signal
from .tables import fit_table, keep_fitted
from .tasks import QueryTask, WorkerTask

DELAY_MS = 700
TIME_BUDGET, TRAINING_LABELS, REPRESENTATIVE = "Advice.TimeBudget", "Advice.TrainingLabels", "Advice.Representative"
KNOWN = {"": None, "yes": True, "no": False}
Choose = Callable[[str], None]


class AdviceSection:
    """The recommendation for the selected pair.

    Parameters
    ----------
    ui : object
        The widgets of the .ui file by name.
    runner : Runner
        Runs the query in the worker.
    compute : callable
        Returns device and threads.
    choose : callable
        Called with 'engine' or 'engine:preset' when the user accepts the advice.

    Attributes
    ----------
    advice : mapping or None
        `Advice.to_json()` of the selected pair, once it is known.
    changed : Signal
        Emits this section whenever the advice appears or disappears.
    ended : Signal
        Emits this section whenever a query finishes or is canceled.
    progressed : Signal
        Emits fraction and stage of the running query.
    """

    def __init__(self, ui: Any, runner: Runner, compute: Callable[[], Compute], choose: Choose) -> None:
        self._ui, self._runner, self._compute, self._choose = ui, runner, compute, choose
        self._parameters: SceneParameters | None = None
        self._preferences = Preferences()
        self._inputs: Inputs | None = None
        self._seen: tuple[Hashable, ...] | None = None
        self._query: QueryTask | None = None
        self._titles: Mapping[str, str] = {}
        self._declined = False
        self._loading = True
        self.advice: Mapping[str, Any] | None = None
        self.message, self.hint = "", ""
        self.changed, self.ended, self.progressed = Signal(), Signal(), Signal()
        self.plotting = Signal()  # a plot is about to change the layout
        self._delay = qt.QTimer()
        self._delay.setSingleShot(True)
        self._delay.interval = DELAY_MS
        self._delay.connect("timeout()", self._on_delay)
        for text, value in ((_("Not known"), ""), (_("Yes"), "yes"), (_("No"), "no")):
            ui.representativeCombo.addItem(text, value)
        ui.adviseCheck.checked = self._preferences.advise
        ui.useAdviceButton.connect("clicked()", self._on_use)
        ui.runnerUpButton.connect("clicked()", self._on_runner_up)
        ui.askButton.connect("clicked()", self._on_ask)
        ui.advicePlotButton.connect("clicked()", self.show_plot)
        ui.adviseCheck.connect("toggled(bool)", self._on_advise)
        ui.timeBudgetSpin.connect("valueChanged(int)", lambda _value: self._on_case())
        ui.trainingLabelsSpin.connect("valueChanged(int)", lambda _value: self._on_case())
        ui.representativeCombo.connect("currentIndexChanged(int)", lambda _index: self._on_case())
        keep_fitted(ui.adviceTable)
        self._loading = False
        self._show()

    @property
    def asking(self) -> bool:
        """Whether a query is running."""
        return self._query is not None

    def load(self, parameters: SceneParameters | None) -> None:
        """Show the case settings stored in a scene; the advice itself is computed again."""
        if (
            parameters is None
            or self._parameters is None
            or parameters.parameter_node is not self._parameters.parameter_node
        ):
            self._forget()
            self._inputs = self._seen = None
        self._parameters, self._loading = parameters, True
        self._ui.timeBudgetSpin.value = int(parameters.value(TIME_BUDGET, 0)) if parameters is not None else 0
        self._ui.trainingLabelsSpin.value = int(parameters.value(TRAINING_LABELS, 0)) if parameters is not None else 0
        known = parameters.text(REPRESENTATIVE) if parameters is not None else ""
        self._ui.representativeCombo.currentIndex = max(0, self._ui.representativeCombo.findData(known))
        self._loading = False
        self._show()

    def follow(self, inputs: Inputs, *, valid: bool, titles: Mapping[str, str]) -> None:
        """Update for the selected nodes; a different pair clears the advice and requests a new one shortly after."""
        self._titles = titles
        self._inputs = inputs if valid and self._parameters is not None else None
        seen = fingerprint(inputs) if self._inputs is not None else None
        if seen != self._seen:
            self._seen = seen
            self._forget()
            self._show()
        if self.advice is None and not (self.asking or self.message or self._declined):
            self._ask_soon()

    def ask(self) -> None:
        """Start the query now, unless one is running or nothing is selected."""
        self._delay.stop()
        if self._inputs is None or self.asking:
            return
        self.message = self.hint = ""
        query = self._runner.query(RECOMMEND, self._inputs, self._compute(), options=self._options())
        self._query = query
        query.changed.connect(self._on_progress)
        query.ended.connect(self._on_answer)
        if query.is_over:
            self._on_answer(query)
        self._show()

    def stop(self) -> None:
        """Cancel the running query."""
        self._delay.stop()
        query, self._query = self._query, None
        if query is not None:
            query.changed.disconnect()
            query.ended.disconnect(self._on_answer)
            query.cancel()
            self.ended.emit(self)
        self._show()

    def show_plot(self) -> None:
        """Show the MI-Dice plot beside the slices."""
        if self.advice is None or self._parameters is None or not self.advice.get("plot"):
            return
        node = self._parameters.parameter_node
        self.plotting.emit()
        chart = scene_chart("advice", node)
        update_advice_plot(self.advice["plot"], chart, scene_table("advice plot", node))
        slicer.modules.plots.logic().ShowChartInLayout(chart)

    def close(self) -> None:
        """Release all resources before the panel is deleted."""
        for signal in (self.changed, self.ended, self.progressed):
            signal.disconnect()
        self.stop()

    def _options(self) -> dict[str, Any]:
        budget = self._ui.timeBudgetSpin.value
        return {
            "time_budget_s": float(budget) if budget else None,
            "training_labels": int(self._ui.trainingLabelsSpin.value),
            "representative": KNOWN[self._ui.representativeCombo.currentData or ""],
        }

    def _forget(self) -> None:
        self.stop()
        self._declined = False
        self.message = self.hint = ""
        if self.advice is not None:
            self.advice = None
            self.changed.emit(self)

    def _ask_soon(self) -> None:
        if self._inputs is not None and self._preferences.advise:
            self._delay.start()

    def _on_delay(self) -> None:
        if not self._runner.busy:  # else a registration needs the processor; `follow` is called when it ends
            self.ask()

    def _on_progress(self, query: WorkerTask) -> None:
        if query is self._query and not query.is_over:
            self._show_progress()
            self.progressed.emit(query.fraction, query.stage)

    def _on_answer(self, query: QueryTask) -> None:
        if query is not self._query:
            return
        self._query = None
        if query.state == FINISHED:
            self.advice = query.answer["advice"]
        elif query.state != CANCELLED:
            self.message, self.hint = query.message, query.hint
        self._show()
        self.changed.emit(self)
        self.ended.emit(self)

    def _on_use(self) -> None:
        if self.advice is not None:
            self._choose(f"{self.advice['engine']}:{self.advice['preset']}")

    def _on_runner_up(self) -> None:
        if self.advice is not None and self.advice["runner_up"]:
            self._choose(self.advice["runner_up"])

    def _on_ask(self) -> None:
        if self.asking:
            self._declined = True
            self.stop()
        else:
            self._forget()
            self.ask()

    def _on_advise(self, on: bool) -> None:
        self._preferences.advise = on
        if on and self.advice is None:
            self._ask_soon()
        elif not on:
            self._delay.stop()
        self._show()

    def _on_case(self) -> None:
        if self._loading:
            return
        if self._parameters is not None:
            with self._parameters.together():
                self._parameters.set_value(TIME_BUDGET, self._ui.timeBudgetSpin.value)
                self._parameters.set_value(TRAINING_LABELS, self._ui.trainingLabelsSpin.value)
                self._parameters.set_text(REPRESENTATIVE, self._ui.representativeCombo.currentData or "")
        known = self.advice is not None or self.asking
        self._forget()
        if known or self._preferences.advise:
            self._delay.start()
        self._show()

    def _show(self) -> None:
        ui, advice = self._ui, self.advice
        ui.adviceProgress.visible = self.asking
        for widget in (ui.useAdviceButton, ui.runnerUpButton, ui.whyButton):
            widget.visible = advice is not None
        ui.askButton.visible = self._inputs is not None
        ui.askButton.text = _("Stop") if self.asking else _("Analyze again") if advice else _("Analyze this pair")
        if advice is not None:
            self._show_advice(advice)
        elif self.asking:
            self._show_progress()
        elif self.message:
            ui.adviceLabel.text = line("error", self.message, self.hint)
        elif self._inputs is None:
            ui.adviceLabel.text = rich_text.faint(_("Select both volumes to get a recommendation."))
        else:
            ui.adviceLabel.text = rich_text.faint(_("Recommends an engine for this pair and gives the reasons."))

    def _show_progress(self) -> None:
        query = self._query
        if query is not None:
            self._ui.adviceProgress.value = int(1000 * query.fraction)
            text = _("Analyzing the pair: {stage}").format(stage=query.stage)
            self._ui.adviceLabel.text = rich_text.faint(text)

    def _show_advice(self, advice: Mapping[str, Any]) -> None:
        ui = self._ui
        ui.adviceLabel.text = rich_text.headline(advice, self._titles)
        ui.reasonsLabel.text = rich_text.reasons(advice)
        ui.limitsLabel.text = rich_text.limits(advice["limits"])
        ui.advicePlotButton.enabled = bool(advice.get("plot"))
        second = advice["runner_up"]
        ui.runnerUpButton.visible = bool(second)
        ui.runnerUpButton.toolTip = _("Selects {engine} below.").format(engine=entry_title(second, self._titles))
        if self._parameters is not None:
            table = scene_table("advice", self._parameters.parameter_node)
            update_advice_table(table, advice, self._titles)
            ui.adviceTable.setMRMLTableNode(table)
            fit_table(ui.adviceTable)
