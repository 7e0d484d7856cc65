"""Settings: frozen dataclasses with field metadata, JSON conversion, named presets and those of the user."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .errors import FileError, SettingsError, did_you_mean
from .files import jsonable, read_json, resource_folder, user_folder, write_json

DEFAULT = "default"
T = TypeVar("T")
NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
KEYS = ("engine", "name", "title", "settings")


@dataclass(frozen=True)
class Choice:
    """An engine and one of its presets.

    Attributes
    ----------
    engine, preset : str
        Their names.

    Examples
    --------
    >>> Choice.parse("ants:quick")
    Choice(engine='ants', preset='quick')
    >>> str(Choice("ants")), str(Choice("ants", "quick"))
    ('ants', 'ants:quick')
    """

    engine: str
    preset: str = DEFAULT

    @classmethod
    def parse(cls, text: str) -> Choice:
        """Parse 'engine' or 'engine:preset'; the preset is 'default' when omitted."""
        engine, _, preset = text.partition(":")
        return cls(engine, preset or DEFAULT)

    def __str__(self) -> str:
        """Return 'engine:preset', or 'engine' alone for its default preset."""
        return self.engine if self.preset in ("", DEFAULT) else f"{self.engine}:{self.preset}"


def option(
    default: Any,
    label: str,
    *,
    tooltip: str = "",
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
    prefixes: Sequence[str] = (),
    advanced: bool = False,
    listing: str = "",
    special: str = "",
) -> Any:
    """Return a dataclass field with metadata for the panel, the command line and checks.

    Parameters
    ----------
    default
        Default value; its annotated type must be bool, int, float, str or a tuple of one of them.
    label, tooltip : str
        The title shown to users.
    unit : str
        'mm', 'voxels', 's', ...; shown beside the value.
    minimum, maximum : float, optional
        Inclusive range of numbers (of every entry of a tuple).
    choices : sequence of str
        Allowed values of a string.
    prefixes : sequence of str
        What other allowed values begin with, beside the choices.
    advanced : bool
        Whether the panel shows it in the advanced section only.
    listing : str
        Name of a list of suggestions known only at run time ('models'); other values are allowed as well.
    special : str
        Meaning of the minimum or the empty choice, such as 'automatic'; the panel shows it instead.
    """
    metadata = {
        "label": label,
        "tooltip": tooltip,
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "choices": tuple(choices),
        "prefixes": tuple(prefixes),
        "advanced": advanced,
        "listing": listing,
        "special": special,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Preset:
    """A named set of setting values.

    Attributes
    ----------
    name, title, summary : str
        Name used in commands, title and summary shown to users.
    values : mapping
        The settings that differ from the defaults.
    source : str
        Source of the values (paper, script, measurement).
    own : bool
        Whether it is a preset of the user.
    problem : str
        Why the file of an own preset cannot be used.
    """

    name: str
    title: str
    summary: str
    values: Mapping[str, Any]
    source: str = ""
    own: bool = False
    problem: str = ""


def own_presets_folder(engine: str) -> Path:
    """Return the folder of the user's presets of an engine, which may not exist yet."""
    return user_folder("data") / "Presets" / engine


def presets(engine: str) -> dict[str, Preset]:
    """Return the presets of an engine: `default` first, those in Resources/Presets/<engine>, then the user's own."""
    found = {DEFAULT: Preset(DEFAULT, "Default", "The engine's default settings.", {})}
    for path in sorted((resource_folder() / "Presets" / engine).glob("*.json")):
        content = read_json(path)
        found[path.stem] = Preset(
            path.stem,
            content.get("title", path.stem),
            content.get("summary", ""),
            content.get("settings", {}),
            content.get("source", ""),
        )
    for path in sorted(own_presets_folder(engine).glob("*.json")):
        found.setdefault(path.stem, _own_preset(path))
    return found


def _own_preset(path: Path) -> Preset:
    """Return a preset of the user; a damaged file is an error only when it is chosen."""
    try:
        content = read_json(path)
        title, summary, values = (content.get(key, "") for key in ("title", "summary", "settings"))
    except FileError as error:
        return Preset(path.stem, path.stem, str(error), {}, own=True, problem=str(error))
    if not isinstance(values, dict):
        problem = f"{path.name} contains no settings."
        return Preset(path.stem, path.stem, problem, {}, own=True, problem=problem)
    return Preset(path.stem, str(title or path.stem), str(summary), values, own=True)


def make_settings(kind: type[T], engine: str, preset: str = DEFAULT, changes: Mapping[str, Any] | None = None) -> T:
    """Return the settings of a preset with some values changed.

    Raises
    ------
    SettingsError
        When the preset or a setting does not exist, or a value has the wrong type or range.
    """
    known = presets(engine)
    if preset not in known:
        raise SettingsError(f"Engine '{engine}' has no preset '{preset}'.", hint=did_you_mean(preset, known))
    if known[preset].problem:
        raise SettingsError(known[preset].problem, hint="Save the preset again or delete it.")
    return from_json(kind, {**known[preset].values, **(changes or {})})


def to_json(settings: Any) -> dict[str, Any]:
    """Return the settings as plain JSON values."""
    plain: dict[str, Any] = jsonable(settings)
    return plain


def from_json(kind: type[T], values: Mapping[str, Any]) -> T:
    """Return settings from plain values; strings, as from a command line, are parsed.

    Raises
    ------
    SettingsError
        For unknown names, wrong types and values out of range.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(kind)
    parsed = {}
    for name, value in values.items():
        if name not in fields:
            raise SettingsError(f"There is no setting '{name}'.", hint=did_you_mean(name, fields))
        parsed[name] = _checked(name, _parse(name, value, hints[name]), fields[name].metadata)
    return kind(**parsed)


def _parse(name: str, value: Any, hint: Any) -> Any:
    inner = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        if value is None or value == "none":
            return None
        return _parse(name, value, inner[0])
    if typing.get_origin(hint) is tuple:
        entries = value.split(",") if isinstance(value, str) else value
        if not isinstance(entries, (list, tuple)):
            entries = [entries]
        if isinstance(value, str) and not value:
            entries = []
        return tuple(_parse(name, entry, inner[0]) for entry in entries)
    return _parse_single(name, value, hint)


def _parse_single(name: str, value: Any, hint: type) -> Any:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    try:
        if hint is bool:
            return value if isinstance(value, bool) else words[str(value).lower()]
        if hint is int and (isinstance(value, bool) or float(value) != int(float(value))):
            raise ValueError
        return hint(float(value)) if hint is int else hint(value)
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"Setting '{name}' must be of type {hint.__name__}, got {value!r}.") from error


def _checked(name: str, value: Any, about: Mapping[str, Any]) -> Any:
    choices, low, high = about.get("choices"), about.get("minimum"), about.get("maximum")
    for entry in value if isinstance(value, tuple) else (value,):
        if choices and entry not in choices and not str(entry).startswith(tuple(about.get("prefixes") or ())):
            raise SettingsError(f"Setting '{name}' cannot be '{entry}'.", hint=did_you_mean(str(entry), choices))
        is_number = isinstance(entry, (int, float)) and not isinstance(entry, bool)
        if is_number and ((low is not None and entry < low) or (high is not None and entry > high)):
            raise SettingsError(f"Setting '{name}' must be in {low}..{high} {about.get('unit', '')}, got {entry}.")
    return value


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
