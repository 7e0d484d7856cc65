"""The Sphinx directive `command-help`: the help of every command of `dvcreg`, as it prints it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from docutils import nodes
from docutils.parsers.rst import Directive

WIDTH = 100


def commands(group: click.Group, context: click.Context) -> Iterator[tuple[str, str]]:
    """Yield name and help of each command, groups before their commands."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            continue
        inner = click.Context(command, parent=context, info_name=name, max_content_width=WIDTH, terminal_width=WIDTH)
        yield inner.command_path, command.get_help(inner)
        if isinstance(command, click.Group):
            yield from commands(command, inner)


class CommandHelp(Directive):
    """A section per command."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        from DeepVsClassicRegLib.cli.main import cli

        made: list[nodes.Node] = []
        for path, text in commands(cli, click.Context(cli, info_name="dvcreg")):
            section = nodes.section(ids=[nodes.make_id(path)], names=[path])
            section += nodes.title(text=path)
            section += nodes.literal_block(text, text, language="none")
            made.append(section)
        return made


def setup(app: Any) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
