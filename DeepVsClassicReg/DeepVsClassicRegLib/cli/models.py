"""`dvcreg models`: the models the network engines can use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from .output import console, show_entries, show_json, show_table

if TYPE_CHECKING:
    from ..core.networks.card import Model

HELP = """The models the engines `network` and `network+refine` can use.

Available are the bundled models, the folders in the variable DVCREG_MODELS, and the models you added.

\b
Examples:
  dvcreg models list
  dvcreg models show synthmorph-brain
  dvcreg models add trained/model
  dvcreg register --engine network --set model=NAME ...
"""
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print plain JSON.")


@click.group("models", help=HELP)
def command() -> None:
    """Group of the commands about models."""


@command.command("list")
@AS_JSON
def list_models(as_json: bool) -> None:
    """List the available models."""
    from ..core.networks.model_store import find_models, headline, user_models_folder

    models = find_models()
    if as_json:
        show_json([_described(model) for model in models])
        return
    if not models:
        console().print(f"No model is installed. Add one with `dvcreg models add FOLDER` ({user_models_folder()}).")
        return
    rows = [
        [
            f"[bold]{escape(model.card.name)}[/]",
            model.card.kind,
            escape(model.card.anatomy),
            escape(model.card.contrasts),
            f"{model.card.spacing_mm:g}",
            escape(headline(model.card)),
            "ships" if model.bundled else "added",
        ]
        for model in models
    ]
    show_table("Models", ["Name", "Kind", "Anatomy", "Contrasts", "mm", "Validation", "Where"], rows)
    console().print("`dvcreg models show NAME` prints the whole card and the folder of a model.", style="dim")


@command.command("show")
@click.argument("name")
@AS_JSON
def show(name: str, as_json: bool) -> None:
    """Show the card of a model, by name or folder."""
    from ..core.networks.model_store import facts, get_model

    model = get_model(name)
    if as_json:
        show_json(_described(model))
    else:
        show_entries(model.card.title, facts(model))


@command.command("add")
@click.argument("folder", type=click.Path(path_type=Path))
@AS_JSON
def add(folder: Path, as_json: bool) -> None:
    """Check a model folder and copy it to your models."""
    from ..core.networks.model_store import add_model

    model = add_model(folder)
    if as_json:
        show_json(_described(model))
    else:
        show_entries(f"Added {model.card.title}", {"Name": model.card.name, "Folder": model.folder})


@command.command("remove")
@click.argument("name")
@AS_JSON
def remove(name: str, as_json: bool) -> None:
    """Remove one of your models; bundled models cannot be removed."""
    from ..core.networks.model_store import remove_model

    folder = remove_model(name)
    if as_json:
        show_json({"name": name, "removed": str(folder)})
    else:
        show_entries("Removed", {name: folder})


@command.command("folder")
@AS_JSON
def folder(as_json: bool) -> None:
    """Print the folder of your models."""
    from ..core.networks.model_store import user_models_folder

    if as_json:
        show_json({"folder": str(user_models_folder())})
    else:
        click.echo(user_models_folder())


def _described(model: Model) -> dict[str, Any]:
    return {**model.card.to_json(), "folder": str(model.folder), "bundled": model.bundled}
