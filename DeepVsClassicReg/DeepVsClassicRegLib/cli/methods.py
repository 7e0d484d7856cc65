"""`dvcreg methods`."""

from __future__ import annotations

import click
from rich.markup import escape

from .output import show_json, show_table

HELP = """List the learning-based methods that `dvcreg train` can train, implemented as in their papers.

\b
Examples:
  dvcreg methods
  dvcreg methods --json | jq '.[] | select(.supervision | index("labels")) | .name'
"""


@click.command("methods", help=HELP)
@click.option("--json", "as_json", is_flag=True, help="Print plain JSON instead of a table.")
def command(as_json: bool) -> None:
    """List the methods."""
    from ..core.networks.catalogue import get_method, method_names
    from ..core.networks.method_facts import method_facts

    known = [method_facts(get_method(name)) for name in method_names()]
    if as_json:
        show_json(known)
        return
    rows = [
        [
            f"[bold]{escape(entry['name'])}[/]",
            entry["kind"],
            ", ".join(entry["supervision"]),
            " ".join(f"{number}D" for number in entry["dimensions"]),
            f"{entry['parameters']:,}",
            str(len(entry["stages"])),
            escape(entry["citation"]),
        ]
        for entry in known
    ]
    show_table("Methods", ["Name", "Kind", "Supervision", "Dim.", "Parameters", "Stages", "Paper"], rows)
