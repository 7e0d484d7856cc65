"""The sections of the outputs of a run and of the computer it runs on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core.device import DEVICES
from ..core.engines.base import needs, remedy
from ..core.engines.error_map import missing
from ..core.errors import RegistrationError
from ..mrml.inputs import Inputs
from ..mrml.outputs import Targets, check_targets
from ..mrml.runs import RARE_ROLES
from .preferences import TARGET, Preferences, SceneParameters

# Entry of `Targets` -> first part of its widgets' names.
OUTPUTS = {
    "transform": "transform",
    "warped": "warped",
    "warped_labels": "warpedLabels",
    "jacobian": "jacobian",
    "uncertainty": "uncertainty",
    "error": "error",
    "report_table": "reportTable",
}
# Outputs that are made on request only.
ON_REQUEST = {"error"}
UNWANTED, REQUESTED, SEED = "UnwantedOutputs", "RequestedOutputs", "Seed"
DEVICE_TITLES = {"auto": _("Automatic"), "cpu": "CPU", "cuda": _("NVIDIA GPU (CUDA)"), "mps": _("Apple GPU (MPS)")}


class OutputsSection:
    """Which outputs are wanted, and which nodes receive them."""

    def __init__(self, ui: Any, changed: Callable[[], None]) -> None:
        self._ui, self._changed = ui, changed
        self._parameters: SceneParameters | None = None
        self._loading = False
        lacking = missing()
        if lacking:
            ui.errorCheck.enabled = ui.errorTarget.enabled = False
            ui.errorCheck.toolTip = _("Needs {what}. {remedy}").format(what=needs(lacking), remedy=remedy(lacking))
        for name in OUTPUTS.values():
            getattr(ui, f"{name}Check").connect("toggled(bool)", lambda _on: self._on_changed())
            getattr(ui, f"{name}Target").connect("currentNodeChanged(vtkMRMLNode*)", lambda _node: self._on_changed())

    def targets(self) -> Targets:
        """Return the wanted outputs and their nodes."""
        nodes = {entry: getattr(self._ui, f"{name}Target").currentNode() for entry, name in OUTPUTS.items()}
        checks = {entry: getattr(self._ui, f"{name}Check") for entry, name in OUTPUTS.items()}
        wanted = {entry for entry, check in checks.items() if check.checked and check.enabled}
        return Targets(**{entry: nodes[entry] for entry in wanted}, wanted=frozenset(wanted))

    def problem(self, inputs: Inputs) -> str:
        """Return why a run with these inputs cannot start, an empty text when it can."""
        try:
            check_targets(inputs, self.targets())
        except RegistrationError as error:
            return str(error)
        # Outputs that not every run gives are not enough.
        return "" if self.targets().wanted.difference(RARE_ROLES) else _("Check at least one output.")

    def load(self, parameters: SceneParameters | None) -> None:
        """Show the choices stored in a scene."""
        self._parameters, self._loading = parameters, True
        unwanted = parameters.value(UNWANTED, []) if parameters is not None else []
        requested = parameters.value(REQUESTED, []) if parameters is not None else []
        for entry, name in OUTPUTS.items():
            getattr(self._ui, f"{name}Check").checked = (
                entry in requested if entry in ON_REQUEST else entry not in unwanted
            )
            node = parameters.node(TARGET + entry) if parameters is not None else None
            getattr(self._ui, f"{name}Target").setCurrentNode(node)
        self._loading = False

    def _on_changed(self) -> None:
        if self._loading:
            return
        if self._parameters is not None:
            targets = self.targets()
            with self._parameters.together():
                self._parameters.set_value(UNWANTED, sorted(set(OUTPUTS) - ON_REQUEST - targets.wanted))
                self._parameters.set_value(REQUESTED, sorted(ON_REQUEST & targets.wanted))
                for entry, name in OUTPUTS.items():
                    self._parameters.set_node(TARGET + entry, getattr(self._ui, f"{name}Target").currentNode())
        self._changed()


class MachineSection:
    """Device, threads, seed and temporary files."""

    def __init__(self, ui: Any) -> None:
        self._ui, self._preferences = ui, Preferences()
        self._parameters: SceneParameters | None = None
        for name in DEVICES:
            ui.deviceCombo.addItem(DEVICE_TITLES[name], name)
        ui.deviceCombo.currentIndex = ui.deviceCombo.findData(self._preferences.device)
        ui.threadsSpin.value = self._preferences.threads
        ui.keepFilesCheck.checked = self._preferences.keep_files
        ui.deviceCombo.connect("currentIndexChanged(int)", lambda _index: self._on_preference())
        ui.threadsSpin.connect("valueChanged(int)", lambda _value: self._on_preference())
        ui.keepFilesCheck.connect("toggled(bool)", lambda _on: self._on_preference())
        ui.openFolderButton.connect("clicked()", self._on_open)
        ui.seedSpin.connect("valueChanged(int)", self._on_seed)

    def compute(self) -> Any:
        """Return device, threads and seed of the next run."""
        return self._preferences.compute(self._ui.seedSpin.value)

    @property
    def keep_files(self) -> bool:
        """Whether the job folders of runs are kept."""
        return self._preferences.keep_files

    def load(self, parameters: SceneParameters | None) -> None:
        """Show the choices stored in a scene."""
        self._parameters = None
        self._ui.seedSpin.value = int(parameters.value(SEED, 0)) if parameters is not None else 0
        self._parameters = parameters

    def _on_preference(self) -> None:
        self._preferences.device = self._ui.deviceCombo.currentData
        self._preferences.threads = self._ui.threadsSpin.value
        self._preferences.keep_files = self._ui.keepFilesCheck.checked

    def _on_open(self) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(slicer.app.temporaryPath))

    def _on_seed(self, seed: int) -> None:
        if self._parameters is not None:
            self._parameters.set_value(SEED, seed)
