"""The progress bar, and jobs in a worker process that it follows; Ctrl-C cancels them cleanly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from ..core.errors import Cancelled
from ..core.job import Job
from ..core.progress import Update, json_update
from ..worker.client import WorkerClient
from ..worker.protocol import Event
from ..worker.session import CANCELLED, FAILED, JobOutcome
from .output import console, show_error

LOG_LINES_SHOWN = 12


class Listener:
    """Prints the events of a worker: a progress bar on a terminal, otherwise a line per stage.

    Parameters
    ----------
    title : str
        Prefix of the stage when there are several jobs.
    quiet : bool
        Print only errors.
    verbose : bool
        Print the log as well.

    Attributes
    ----------
    shown_notes : set of str
        The notes printed so far.
    """

    def __init__(self, title: str = "", *, quiet: bool = False, verbose: bool = False) -> None:
        self.title, self.quiet, self.verbose = title, quiet, verbose
        self.screen: Console = console(stderr=True)
        self.bar: Progress | None = None
        self._task: TaskID | None = None
        self.shown_notes: set[str] = set()
        self._stage = ""

    @contextmanager
    def shown(self) -> Iterator[Listener]:
        """Show the progress bar inside the block."""
        if self.quiet or not self.screen.is_terminal:
            yield self
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TextColumn("{task.fields[metric]}", style="cyan"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.screen, transient=True) as self.bar:
            self._task = self.bar.add_task(self._words("Starting"), total=1.0, metric="")
            yield self
        self.bar = None

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.kind == "progress":
            self._progress(event.data)
        elif event.kind == "note" and not self.quiet:
            self.shown_notes.add(event.text)
            self.screen.print(f"[yellow]Note:[/]  {escape(event.text)}")
        elif event.kind in ("log", "noise") and self.verbose:
            self.screen.print(escape(event.text), style="dim")

    def say(self, text: str) -> None:
        """Show a stage that is not part of the worker."""
        if self.bar is not None and self._task is not None:
            self.bar.update(self._task, description=self._words(text))
        elif not self.quiet:
            self.screen.print(self._words(text))

    def _progress(self, data: Any) -> None:
        stage, metric = str(data.get("stage", "")), data.get("metric")
        if self.bar is not None and self._task is not None:
            shown = "" if metric is None else f"metric {metric:.4g}"
            self.bar.update(
                self._task, completed=data.get("fraction", 0.0), description=self._words(stage), metric=shown
            )
        elif not self.quiet and stage != self._stage:
            self.screen.print(f"{data.get('fraction', 0.0):4.0%} {self._words(stage)}")
        self._stage = stage

    def _words(self, stage: str) -> str:
        return escape(f"{self.title}: {stage}" if self.title else stage)


@contextmanager
def shown_updates(is_due: Callable[[Update], bool], *, quiet: bool = False) -> Iterator[Callable[[Update], None]]:
    """Give a listener for work in this process: a bar on a terminal, elsewhere a line for every update that is due."""
    listener = Listener(quiet=quiet)

    def show(update: Update) -> None:
        if listener.bar is not None or is_due(update):
            listener(Event("progress", json_update(update)))

    with listener.shown():
        yield show


def run_job(job: Job, folder: Path, listener: Listener) -> JobOutcome:
    """Run a job in its folder and return its outcome.

    The first Ctrl-C asks the worker to stop, the second one kills it.

    Raises
    ------
    Cancelled
        When the user canceled.
    """
    job.write(folder)
    client = WorkerClient(folder)
    with listener.shown(), client:
        events = client.events()
        while True:
            try:
                for event in events:
                    listener(event)
                break
            except KeyboardInterrupt:
                events = client.events()
                if client.session.state == "cancelling":
                    client.kill()
                else:
                    listener.say("Cancelling ...")
                    client.cancel()
    outcome = client.wait()
    if outcome.state == CANCELLED:
        raise Cancelled
    return outcome


def show_failure(outcome: JobOutcome, *, verbose: bool = False) -> None:
    """Print why there is no result: the message, the hint and, after a bug or crash, the end of the log."""
    show_error(outcome.message, outcome.hint)
    if outcome.state == FAILED and outcome.log and not verbose:
        screen = console(stderr=True)
        screen.print("[bold]Last lines of the log:[/]")
        for line in outcome.log[-LOG_LINES_SHOWN:]:
            screen.print("  " + escape(line), style="dim")
