"""`dvcreg engines`."""

from __future__ import annotations

from typing import Any

import click
from rich.markup import escape

from .output import show_json, show_table

HELP = """List the engines, their presets, and the packages they still need.

\b
Examples:
  dvcreg engines
  dvcreg engines --json | jq '.[] | select(.available) | .name'
"""


@click.command("engines", help=HELP)
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON instead of a table.")
@click.option("--settings", "with_settings", metavar="NAME", help="List the settings of one engine instead.")
def command(as_json: bool, with_settings: str | None) -> None:
    """List engines, or the settings of one."""
    if with_settings:
        _settings(with_settings, as_json)
        return
    from ..core.engines.catalogue import engine_infos

    known = [_described(info) for info in engine_infos()]
    if as_json:
        show_json(known)
        return
    rows = [
        [
            f"[bold]{escape(entry['name'])}[/]",
            escape(entry["title"]),
            entry["family"],
            "[green]ready[/]" if entry["available"] else "[red]missing[/]",
            escape(entry["remedy"]),
            escape(", ".join(entry["presets"])),
        ]
        for entry in known
    ]
    show_table("Engines", ["Name", "Title", "Family", "Status", "Remedy", "Presets"], rows)


def _described(info: Any) -> dict[str, Any]:
    from ..core.engines.base import remedy
    from ..core.settings import presets

    missing = info.missing()
    return {
        "name": info.name,
        "title": info.title,
        "summary": info.summary,
        "family": info.family,
        "available": not missing,
        "remedy": remedy(missing),
        "presets": list(presets(info.name)),
        "devices": list(info.devices),
        "multimodal": info.multimodal,
        "uses_labels": info.uses_annotations,
        "uses_masks": info.uses_masks,
        "licence": info.licence,
        "citation": info.citation,
    }


def _settings(name: str, as_json: bool) -> None:
    import dataclasses

    from ..core.engines.catalogue import get_engine

    fields = [
        {"name": field.name, "type": str(field.type), "default": field.default, **field.metadata}
        for field in dataclasses.fields(get_engine(name).info.settings)
    ]
    if as_json:
        show_json(fields)
        return
    rows = [
        [
            f"[bold]{escape(entry['name'])}[/]",
            escape(_shown(entry["default"])),
            escape(_allowed(entry)),
            escape(f"{entry.get('label', '')}. {entry.get('tooltip', '')}".strip(". ")),
        ]
        for entry in fields
    ]
    show_table(f"Settings of {name} (--set NAME=VALUE)", ["Name", "Default", "Allowed", "Meaning"], rows)


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)


def _allowed(entry: dict[str, Any]) -> str:
    if entry.get("choices"):
        return ", ".join(entry["choices"])
    low, high, unit = entry.get("minimum"), entry.get("maximum"), entry.get("unit", "")
    if low is None and high is None:
        return f"{entry['type']} {unit}".strip()
    return f"{'' if low is None else low}..{'' if high is None else high} {unit}".strip()
