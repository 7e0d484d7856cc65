"""`dvcreg`: the command line of the library; each command is a separate file, imported when it is called."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from ..core.device import SLEEPING_THREADS, kept_memory
from ..core.errors import Cancelled, RegistrationError
from ..core.version import VERSION
from ..worker.protocol import EXIT_CANCELLED, EXIT_RESULT, EXIT_USER
from .output import library_warnings, show_cancelled, show_error

COMMANDS = {
    "register": "Register a moving volume to a fixed volume and evaluate the result.",
    "compare": "Run several engines from the same linear alignment and compare the results.",
    "cohort": "Register many pairs, on this computer or a cluster, with a table and a page.",
    "recommend": "Recommend an engine for a pair, with expected quality and reasons.",
    "evaluate": "Measure how well a transform aligns a pair.",
    "transform": "Apply a transform to an image, labels or points.",
    "segment": "Segment a volume with a trained network.",
    "atlas": "Build an unbiased atlas of several subjects, or label a volume by atlases.",
    "monitor": "Measure how the structures of one subject changed over several scans.",
    "motion": "Correct the motion of a 4D volume: register all frames to one, or to their mean.",
    "stack": "Align serial 2D sections to each other.",
    "train": "Train a registration network; the result is a model folder.",
    "finetune": "Fine-tune a trained model on your own cases.",
    "methods": "List the learned methods that can be trained.",
    "engines": "List the engines, their presets, and the packages they still need.",
    "presets": "Save, share and list presets of the engines.",
    "models": "List, show, add and remove the models of the network engines.",
    "calibrate": "Fit the predictions of `recommend` to measured registrations.",
    "info": "Describe volumes, segmentations, transforms and landmark files.",
    "phantom": "Write a phantom pair with a known transform.",
    "reproduce": "Repeat an experiment of the paper on your data or on a phantom.",
}
# Commands that read no image in this process: they start without ITK.
WITHOUT_IMAGES = ("register", "methods", "engines", "presets", "models")


class LazyGroup(click.Group):
    """A group that imports a command only when it is called, so that help is fast."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of the commands, the most important one first."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return a command by name."""
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f".{name}", __package__).command
        return command

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest a similar one."""
        from ..core.errors import did_you_mean

        if arguments and arguments[0] not in COMMANDS:
            context.fail(f"There is no command '{arguments[0]}'. {did_you_mean(arguments[0], COMMANDS)}")
        return super().resolve_command(context, arguments)

    def invoke(self, context: click.Context) -> Any:
        """Run a command."""
        with kept_memory():
            return super().invoke(context)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="dvcreg")
@click.pass_context
def cli(context: click.Context) -> None:
    """Register medical volumes with classical or deep methods, and evaluate the result.

    \b
    dvcreg phantom --out demo                       write two test volumes
    dvcreg register --fixed demo/fixed.nii.gz --moving demo/moving.nii.gz --out result
    dvcreg COMMAND --help                           options, units and examples

    Coordinates are LPS millimeters; a transform maps fixed to moving points.
    Exit codes: 0 done, 1 a bug or crash, 2 a user error, 3 canceled.
    """
    if context.invoked_subcommand not in WITHOUT_IMAGES:
        import SimpleITK as sitk

        sitk.ProcessObject.SetGlobalWarningDisplay(False)  # the readers report what matters


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    for name, value in SLEEPING_THREADS.items():  # before a command loads a library that reads them
        os.environ.setdefault(name, value)
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        with library_warnings():
            outcome = cli.main(args=given, prog_name="dvcreg", standalone_mode=False, obj=tuple(given))
    except click.ClickException as error:
        error.show()
        return EXIT_USER
    except RegistrationError as error:
        show_error(error.message, error.hint)
        return EXIT_USER
    except (Cancelled, KeyboardInterrupt, click.Abort):
        show_cancelled()
        return EXIT_CANCELLED
    except BrokenPipeError:  # the reader of the pipe, as in `dvcreg ... | head`, has closed it
        sys.stderr.close()
        return EXIT_RESULT
    return outcome if isinstance(outcome, int) else EXIT_RESULT


if __name__ == "__main__":
    sys.exit(main())
