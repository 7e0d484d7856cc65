"""Which engines can run on this computer; installs the packages of the others on demand, after the user agrees."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core.engines.base import EngineInfo, Requirement, needs, remedy
from ..core.engines.catalogue import PREFERRED, engine_names, get_engine
from ..core.errors import EngineUnavailable
from ..worker.installing import Package, packages_to_add

FAMILIES = ("deep", "classical", "linear")
OWN_LICENCE = "Apache-2.0"
TORCH = ("torch",)
TORCH_VERSION = ">=2.6"


@dataclass(frozen=True)
class EngineAvailability:
    """An engine and whether it can be used here.

    Attributes
    ----------
    info : EngineInfo
        Its catalogue entry.
    missing : tuple of Requirement
        What is not installed.
    """

    info: EngineInfo
    missing: tuple[Requirement, ...]

    @property
    def ready(self) -> bool:
        """Whether it can run now."""
        return not self.missing

    @property
    def installable(self) -> bool:
        """Whether everything missing is a Python package, which the panel can install."""
        return bool(self.missing) and all(need.package for need in self.missing)

    @property
    def needs(self) -> str:
        """Names of what is missing."""
        return needs(self.missing)

    @property
    def remedy(self) -> str:
        """How the user makes it available, in one sentence."""
        return remedy(self.missing)


def engine_availability() -> list[EngineAvailability]:
    """Return all engines of the catalogue, sorted by family, available ones first."""
    infos = [get_engine(name).info for name in engine_names()]
    found = [EngineAvailability(info, info.missing()) for info in infos]
    return sorted(found, key=lambda entry: (not entry.ready, FAMILIES.index(entry.info.family)))


def default_engine(found: list[EngineAvailability]) -> str:
    """Return the name of the engine that is selected by default."""
    ready = [entry.info.name for entry in found if entry.ready]
    return next((name for name in PREFERRED if name in ready), ready[0] if ready else "")


def requirement_lines(packages: list[str], requirements: Path) -> list[str]:
    """Return the lines of requirements.txt for some packages; a package that is not listed keeps its plain name."""
    known = {}
    for line in requirements.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if text and not text.startswith(("#", "-")):
            name = text
            for mark in "<>=!~[; ":
                name = name.partition(mark)[0]
            known[_normal(name)] = text
    return [known.get(_normal(package), package) for package in packages]


def ensure(entry: EngineAvailability, requirements: Path) -> None:
    """Install the missing packages of an engine, after asking the user.

    Parameters
    ----------
    entry : EngineAvailability
        The engine.
    requirements : Path
        The module's requirements.txt with lower bounds.

    Raises
    ------
    EngineUnavailable
        When the user declines, the installation fails, or something cannot be installed by the module.
    """
    if entry.ready:
        return
    name = entry.info.title
    if not entry.installable:
        raise EngineUnavailable(_("{engine} needs {what}.").format(engine=name, what=entry.needs), hint=entry.remedy)
    if any(need.package in TORCH for need in entry.missing):
        _ensure_torch(name)
    others = [need for need in entry.missing if need.package not in TORCH]
    if others:
        lines, alone = (
            requirement_lines([need.package for need in others if need.no_deps is no_deps], requirements)
            for no_deps in (False, True)
        )
        _ensure_packages(lines, alone, entry.info)
    importlib.invalidate_caches()
    missing = entry.info.missing()
    if missing:
        raise EngineUnavailable(
            _("{engine} still needs {what}.").format(engine=name, what=needs(missing)),
            hint=_("Install it, restart Slicer, or choose another engine."),
        )


def _ensure_packages(lines: list[str], alone: list[str], info: EngineInfo) -> None:
    """Install packages after asking; those in `alone` without dependencies, which would replace packages of Slicer."""
    wanted = ", ".join([*lines, *alone])
    try:
        with slicer.util.WaitCursor():
            packages = packages_to_add(lines, alone)
    except EngineUnavailable as error:
        raise _declined(info.title, wanted, error.message, error.hint) from error
    if not packages:
        return
    question = consent_text(info, packages)
    if not slicer.util.confirmOkCancelDisplay(question):
        raise _declined(info.title, wanted, _("The installation was declined."))
    try:  # exactly what the user agreed to; all dependencies are in the list
        slicer.util.pip_install(" ".join(["--no-deps", *(package.pin for package in packages)]))
    except Exception as error:  # pip failed: CalledProcessError, no network
        raise _declined(info.title, wanted, str(error)) from error


def consent_text(info: EngineInfo, packages: Sequence[Package]) -> str:
    """Return the question before an installation: packages with version, size and license, and what they change."""
    rows = [
        f"{package.name} {package.version}, {_size_text(package.size_bytes)}, "
        + (package.licence or _("license not stated"))
        for package in packages
    ]
    parts = [_("{engine} needs packages that are not installed:").format(engine=info.title), "\n".join(rows)]
    sizes = [package.size_bytes for package in packages]
    if len(packages) > 1 and None not in sizes:
        parts.append(_("In all {size}.").format(size=_size_text(sum(size or 0 for size in sizes))))
    if info.licence != OWN_LICENCE:
        parts.append(
            _("{engine} has the license {license}, this module {own}. By installing it you accept its license.").format(
                engine=info.title, license=info.licence, own=OWN_LICENCE
            )
        )
    parts.append(_("Packages that are installed already, such as numpy, scipy and SimpleITK, are not changed."))
    parts.append(_("Install them now?"))
    return "\n\n".join(parts)


def _size_text(size_bytes: int | None) -> str:
    if size_bytes is None:
        return str(_("size not known"))
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e5 else f"{max(1, round(size_bytes / 1e3))} kB"


def _ensure_torch(engine: str) -> None:
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            _("{engine} needs PyTorch.").format(engine=engine),
            hint=_("Install the extension 'PyTorch' in the Extensions Manager and restart Slicer."),
        ) from error
    logic: Any = PyTorchUtils.PyTorchUtilsLogic()
    if logic.torchInstalled():
        return
    if logic.installTorch(askConfirmation=True, torchVersionRequirement=TORCH_VERSION) is None:
        raise _declined(engine, "torch", _("PyTorch was not installed."))


def _declined(engine: str, what: str, reason: str, hint: str = "") -> EngineUnavailable:
    return EngineUnavailable(
        _("{engine} cannot be used without {what}: {reason}").format(engine=engine, what=what, reason=reason),
        hint=hint or _("Choose another engine, or try again."),
    )


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").strip()
