"""What pip would install, found out before anything is installed: packages with version, size and license.

Installed packages are never changed: pip receives the versions of all of them as constraints. A package whose declared
dependencies contradict these is installed alone, if the engine says that it works so (`Requirement.no_deps`).
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ..core.errors import EngineUnavailable
from .processes import worker_python

LONGEST_LICENCE = 60
LONGEST_REASON = 600
RESOLVE_S = 300.0
SIZE_S = 10.0


@dataclass(frozen=True)
class Package:
    """A package that pip would add.

    Attributes
    ----------
    name, version : str
        As on the index.
    licence : str
        As its metadata state it; '' when they do not.
    size_bytes : int or None
        Size of the download; None when the server does not tell it.
    """

    name: str
    version: str
    licence: str = ""
    size_bytes: int | None = None

    @property
    def pin(self) -> str:
        """The requirement of exactly this version."""
        return f"{self.name}=={self.version}"


def packages_to_add(
    lines: Sequence[str], alone: Sequence[str] = (), *, python: str = "", options: Sequence[str] = ()
) -> tuple[Package, ...]:
    """Return what pip would add for some requirements; nothing is installed.

    Parameters
    ----------
    lines : sequence of str
        Requirements, installed with their dependencies.
    alone : sequence of str
        Requirements, installed without their dependencies.
    python : str
        Python program whose packages are meant; by default that of the worker.
    options : sequence of str
        Further options of pip, such as the address of an index.

    Raises
    ------
    EngineUnavailable
        When the index cannot be reached, has no fitting version, or an installed package would have to change.
    """
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder) / "installed.txt"
        pins.write_text("\n".join(installed_pins()), encoding="utf-8")
        command = [python or worker_python(), "-m", "pip", "install", "--dry-run", "--no-input"]
        command += ["--disable-pip-version-check", "--constraint", str(pins), *options]
        found: dict[str, Package] = {}
        for wanted, more in ((lines, []), (alone, ["--no-deps"])):
            if wanted:
                found |= {item.name: item for item in _resolve([*command, *more], wanted, Path(folder) / "report.json")}
    return tuple(found.values())


def installed_pins() -> list[str]:
    """Return the requirement of the present version of every installed package."""
    found = {(entry.name, entry.version) for entry in metadata.distributions() if entry.name and entry.version}
    return sorted(f"{name}=={version}" for name, version in found if version[:1].isdigit())


def _resolve(command: Sequence[str], wanted: Sequence[str], report: Path) -> list[Package]:
    names = ", ".join(wanted)
    try:
        done = subprocess.run(
            [*command, "--report", str(report), *wanted],
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=RESOLVE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineUnavailable(
            f"pip found no versions of {names} within {RESOLVE_S:.0f} s.", hint="Check the network, and try again."
        ) from error
    if done.returncode:
        raise EngineUnavailable(
            f"{names} cannot be installed beside what is installed: {_reason(done.stdout, done.stderr)}",
            hint="Check the network, or choose another engine; installed packages are never changed.",
        )
    content = json.loads(report.read_text(encoding="utf-8"))
    return [_package(entry) for entry in content["install"]]


def _package(entry: Mapping[str, Any]) -> Package:
    about = entry["metadata"]
    return Package(about["name"], about["version"], _licence(about), _size_bytes(entry["download_info"]["url"]))


def _licence(about: Mapping[str, Any]) -> str:
    """Return the license in a few words; some packages state its whole text."""
    stated = about.get("license_expression") or (about.get("license") or "").strip()
    if stated and len(stated) <= LONGEST_LICENCE:
        return str(stated)
    classes = [name.rpartition(" :: ")[2] for name in about.get("classifier") or () if name.startswith("License")]
    return ", ".join(classes) or stated.splitlines()[0].strip()[:LONGEST_LICENCE] if stated or classes else ""


def _size_bytes(address: str) -> int | None:
    """Return the size of a download from the header of the answer; None when it is not known."""
    try:
        request = urllib.request.Request(address, method="HEAD")
        with urllib.request.urlopen(request, timeout=SIZE_S) as answer:
            length = answer.headers.get("Content-Length")
    except (OSError, ValueError):
        return None
    return int(length) if length else None


def _reason(output: str, errors: str) -> str:
    """Return why pip failed: the contradicting requirements if it names them, otherwise its errors."""
    lines = [line.strip() for line in output.splitlines()]
    causes = [line for line in lines if " depends on " in line and not line.startswith(("Collecting", "Requirement"))]
    installed = [line.partition("(constraint) ")[2] for line in lines if "(constraint) " in line]
    if causes and installed:
        return f"{'; '.join(dict.fromkeys(causes))}, but {', '.join(dict.fromkeys(installed))} is installed."
    complaints = [line.strip().removeprefix("ERROR: ") for line in errors.splitlines()]
    important = [line for line in complaints if line and not line.startswith(("WARNING", "[notice]"))]
    return " ".join(important)[:LONGEST_REASON]
