"""Presets of the user: saved beside the user's models, shared as JSON files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import FileError, SettingsError, did_you_mean
from .files import read_json, write_json
from .settings import Preset, from_json, own_presets_folder, presets, to_json

NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
KEYS = ("engine", "name", "title", "settings")


def preset_name(title: str) -> str:
    """Return the name of a preset with this title.

    Examples
    --------
    >>> preset_name("My fast brain (3T)")
    'my-fast-brain-3t'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def save_preset(
    engine: str, kind: type, title: str, values: Mapping[str, Any], *, summary: str = "", replace: bool = False
) -> Preset:
    """Save settings as a preset of the user.

    Parameters
    ----------
    engine : str
        Engine name.
    kind : type
        Dataclass of its settings, to check the values.
    title : str
        Title; the name in commands is made from it, see `preset_name`.
    values : mapping
        Settings that differ from the defaults.
    summary : str
        Sentence shown to users.
    replace : bool
        Whether an own preset of that name may be replaced.

    Raises
    ------
    SettingsError
        When the name is empty or taken, or a value is not allowed.
    """
    name = preset_name(title)
    if not NAME.fullmatch(name):
        raise SettingsError(f"'{title}' is no title for a preset.", hint="Use letters or digits.")
    known = presets(engine).get(name)
    if known is not None and not known.own:
        raise SettingsError(f"The preset '{name}' of '{engine}' ships with the program.", hint="Choose another title.")
    if known is not None and not replace:
        raise SettingsError(f"There is already a preset '{name}' of '{engine}'.", hint="Choose another title.")
    plain = to_json(from_json(kind, values))
    kept = {setting: plain[setting] for setting in values}
    folder = own_presets_folder(engine)
    folder.mkdir(parents=True, exist_ok=True)
    content = {"engine": engine, "name": name, "title": title.strip(), "summary": summary, "settings": kept}
    write_json(folder / f"{name}.json", content)
    return presets(engine)[name]


def preset_content(engine: str, name: str) -> dict[str, Any]:
    """Return a preset as it is shared: engine, name, title, summary and settings."""
    preset = _known(engine, name)
    return {
        "engine": engine,
        "name": name,
        "title": preset.title,
        "summary": preset.summary,
        "settings": dict(preset.values),
    }


def export_preset(engine: str, name: str, path: Path) -> Path:
    """Write a preset, bundled or own, to a file for another computer."""
    return write_json(path, preset_content(engine, name))


def read_preset(path: Path) -> dict[str, Any]:
    """Read a shared preset file.

    Raises
    ------
    FileError
        When the file is no preset.
    """
    content = read_json(path)
    lacking = [key for key in KEYS if key not in content]
    if lacking or not isinstance(content["settings"], dict):
        raise FileError(
            f"{path.name} is no preset: it lacks {', '.join(lacking) or 'settings'}.",
            hint="Export one with `dvcreg presets export` or from the panel.",
        )
    return content


def delete_preset(engine: str, name: str) -> None:
    """Delete a preset of the user.

    Raises
    ------
    SettingsError
        When there is none of this name, or it ships with the program.
    """
    if not _known(engine, name).own:
        raise SettingsError(f"The preset '{name}' of '{engine}' ships with the program and cannot be deleted.")
    (own_presets_folder(engine) / f"{name}.json").unlink()


def _known(engine: str, name: str) -> Preset:
    known = presets(engine)
    if name not in known:
        raise SettingsError(f"Engine '{engine}' has no preset '{name}'.", hint=did_you_mean(name, known))
    return known[name]
