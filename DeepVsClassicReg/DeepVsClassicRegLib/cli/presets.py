"""`dvcreg presets`: presets of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from ..core.settings import Choice
from .options import FILE, setting_option, settings_of
from .output import show_entries, show_json, show_table

HELP = """Save settings of an engine under a name, and share them as files.

A preset of your own is chosen like one that ships: with --preset, and as ENGINE:PRESET in `dvcreg compare`. It is
stored for the current user and shown in the panel as well.

\b
Examples:
  dvcreg presets save "My fast brain" --engine instance:fast --set iterations=60,60,60,30
  dvcreg presets list instance
  dvcreg presets export instance:my-fast-brain --out my-fast-brain.json
  dvcreg presets import my-fast-brain.json
  dvcreg presets delete instance:my-fast-brain
"""
ENTRY = click.argument("entry", metavar="ENGINE:PRESET")
REPLACE = click.option("--replace", is_flag=True, help="Replace an own preset of the same name.")


@click.group("presets", help=HELP)
def command() -> None:
    """Group of the commands about presets."""


@command.command("list")
@click.argument("engine", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON.")
def list_presets(engine: str | None, as_json: bool) -> None:
    """List the presets of an engine, or of all."""
    from ..core.engines.catalogue import engine_infos, get_engine
    from ..core.settings import presets

    names = [get_engine(engine).info.name] if engine else [info.name for info in engine_infos()]
    found = [(name, preset) for name in names for preset in presets(name).values()]
    if as_json:
        show_json(
            [
                {
                    "engine": name,
                    "name": preset.name,
                    "title": preset.title,
                    "own": preset.own,
                    "settings": preset.values,
                }
                for name, preset in found
            ]
        )
        return
    rows = [
        [f"[bold]{escape(str(Choice(name, preset.name)))}[/]", escape(preset.title), "own" if preset.own else "ships",
         escape(preset.problem or preset.summary)]
        for name, preset in found
    ]  # fmt: skip
    show_table("Presets", ["Entry", "Title", "Where", "Summary"], rows)


@command.command("save")
@click.argument("title")
@click.option("--engine", "entry", required=True, metavar="ENGINE[:PRESET]", help="Engine, and preset to start from.")
@setting_option
@click.option("--summary", default="", help="Sentence about it.")
@REPLACE
def save(title: str, entry: str, settings: tuple[str, ...], summary: str, replace: bool) -> None:
    """Save settings as a preset of your own."""
    from ..core.engines.catalogue import get_engine
    from ..core.settings import make_settings, presets, save_preset

    chosen = Choice.parse(entry)
    kind = get_engine(chosen.engine).info.settings
    changes = settings_of(settings)
    make_settings(kind, chosen.engine, chosen.preset, changes)  # checks the preset and the values
    values = {**presets(chosen.engine)[chosen.preset].values, **changes}
    _show(chosen.engine, save_preset(chosen.engine, kind, title, values, summary=summary, replace=replace))


@command.command("import")
@click.argument("path", type=FILE)
@REPLACE
def import_file(path: Path, replace: bool) -> None:
    """Add a preset from a file."""
    from ..core.engines.catalogue import get_engine
    from ..core.settings import read_preset, save_preset

    content = read_preset(path)
    engine = get_engine(str(content["engine"])).info
    summary = str(content.get("summary", ""))
    _show(
        engine.name,
        save_preset(
            engine.name, engine.settings, str(content["title"]), content["settings"], summary=summary, replace=replace
        ),
    )


@command.command("export")
@ENTRY
@click.option("--out", type=FILE, required=True, help="File to write, .json.")
def export(entry: str, out: Path) -> None:
    """Write a preset to a file, for another computer."""
    from ..core.settings import export_preset

    chosen = Choice.parse(entry)
    show_entries(str(export_preset(chosen.engine, chosen.preset, out)), {"preset": str(chosen)})


@command.command("delete")
@ENTRY
def delete(entry: str) -> None:
    """Delete a preset of your own."""
    from ..core.settings import delete_preset

    chosen = Choice.parse(entry)
    delete_preset(chosen.engine, chosen.preset)


def _show(engine: str, preset: Any) -> None:
    settings = {name: str(value) for name, value in preset.values.items()}
    show_entries(str(Choice(engine, preset.name)), {"title": preset.title, **settings})
