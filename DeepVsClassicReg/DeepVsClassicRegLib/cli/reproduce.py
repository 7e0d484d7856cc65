"""`dvcreg reproduce`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from ..core.files import protect_inputs, read_json
from ..core.progress import Progress, Update
from ..worker.protocol import EXIT_RESULT
from .folders import output_folder
from .output import show_entries, show_json, show_note, show_table
from .running import shown_updates

HELP = """Repeat an experiment of the paper "Deep Learning in Medical Image Registration: Magic or Mirage?" on your
labeled volumes or on a phantom population, and report which of its claims hold on this data.

\b
mi-dice      Fig. 1    does mutual information of intensity and label predict the Dice of a classical engine?
paradigms    Fig. 2-3  are classical engines better than networks trained without labels?
supervision  Fig. 4    do labels in training help, and does the gain generalize to new subjects?
shift        Fig. 5    does the gain persist on another contrast, with noise, and on other data?

Data: a folder with manifest.json, a Learn2Reg dataset JSON, or images and label maps side by side (S1_t1.nii.gz with
S1_seg.nii.gz, or imagesTr with labelsTr). Without --data the phantom is used.

Every finished task is one line of OUT/units.jsonl. The same command resumes an interrupted experiment and repeats
failed tasks. Ctrl-C stops it cleanly.

\b
Examples:
  dvcreg reproduce mi-dice --phantom --out mi --workers 2
  dvcreg reproduce mi-dice --data brains --engines instance,ants:quick --pairs 40 --out mi
  dvcreg reproduce supervision --phantom --seeds 0,1,2 --workers 2 --out labels
  dvcreg reproduce paradigms --data crops --spacing 1 --methods all --hours 0.1 --workers 2 --out methods

Exit code 0 when the page was written, 2 when nothing could be run.
"""
VERDICTS = {"holds": "[green]holds[/]", "fails": "[red]fails[/]", "undecided": "[yellow]undecided[/]"}
PATH = click.Path(path_type=Path)


@click.command("reproduce", help=HELP)
@click.argument("experiment", metavar="EXPERIMENT")
@click.option("--data", type=PATH, multiple=True, help="Folder or dataset JSON with labeled volumes (repeatable).")
@click.option("--datasets", default="", metavar="A,B", help="Use only these data sets (subfolders) of --data.")
@click.option("--phantom", is_flag=True, help="Use the phantom population (the default without --data).")
@click.option("--out", "-o", type=PATH, required=True, help="Folder to write into.")
@click.option("--engines", "-e", default="", metavar="A,B:PRESET", help="Classical engines; claims use the first one.")
@click.option(
    "--methods",
    default="",
    metavar="A,B",
    help="Networks to train, or 'all'; the experiment's own choice when left out.",
)
@click.option("--models", default="", metavar="A,B", help="Trained models to evaluate as well, by name or folder.")
@click.option("--seeds", default="0,1,2", show_default=True, metavar="N,N", help="Seeds of the training runs.")
@click.option("--steps", default=0, help="Steps of one training run; 0 for the default of the experiment.")
@click.option("--hours", default=0.0, help="Longest time of one training in CPU hours; 0 for no limit.")
@click.option("--pairs", default=0, help="Maximum number of random pairs per data set; 0 for the experiment's default.")
@click.option("--spacing", default=4.0, show_default=True, help="Voxel size of the networks in mm (real data).")
@click.option(
    "--runs",
    type=PATH,
    multiple=True,
    help="JSON lines with case, engine and dice, used instead of registering again (repeatable).",
)
@click.option("--workers", default=1, show_default=True, help="Number of parallel processes.")
@click.option("--threads", default=1, show_default=True, help="Threads of each process.")
@click.option("--quiet", "-q", is_flag=True, help="Print only errors.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON to standard output.")
def command(experiment: str, data: tuple[Path, ...], phantom: bool, out: Path, **options: Any) -> int:
    """Run an experiment."""
    from ..core.experiments.dataset import joined, read_study
    from ..core.experiments.reproduce import get_experiment, reproduce
    from ..core.experiments.tasks import LOG_FILE

    if data and phantom:
        raise click.UsageError("--data and --phantom exclude each other.")
    get_experiment(experiment)
    protect_inputs((*data, *options["runs"]), [out / LOG_FILE, *out.glob(f"{experiment}*")])
    chosen = _options(options, phantom=not data)
    study = joined([read_study(path) for path in data]).only(_words(options["datasets"])) if data else None
    folder = output_folder(out)
    if options["workers"] < 1:
        raise click.UsageError("--workers must be 1 or more.")
    with shown_updates(_once_a_tenth(), quiet=options["quiet"]) as listener:
        progress = Progress(listener)
        done = reproduce(experiment, folder, study=study, options=chosen, workers=options["workers"], progress=progress)
    if options["as_json"]:
        show_json(read_json(done.files["summary"]))
    elif not options["quiet"]:
        rows = [[VERDICTS[claim.verdict], escape(claim.title), escape(claim.ours)] for claim in done.findings.claims]
        show_table(done.findings.title, ["Verdict", "Claim", "Found here"], rows)
        show_entries("Written", {"page": done.files["page"], "summary": done.files["summary"]})
    for failure in done.failures:
        show_note(f"{failure.task} {failure.status}: {failure.reason}")
    return EXIT_RESULT


def _options(given: dict[str, Any], *, phantom: bool) -> Any:
    from ..core.experiments.base import ExperimentOptions

    return ExperimentOptions(
        engines=_words(given["engines"]),
        methods=_words(given["methods"]),
        models=_words(given["models"]),
        seeds=_numbers(given["seeds"]),
        steps=given["steps"],
        hours=given["hours"],
        pairs=given["pairs"],
        spacing_mm=given["spacing"],
        runs=_runs(given["runs"]),
        threads=given["threads"],
        phantom=phantom,
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(word) for word in _words(text))
    except ValueError as error:
        raise click.UsageError(f"--seeds needs integers separated by commas, got '{text}'.") from error
    if not numbers or len(set(numbers)) != len(numbers):
        raise click.UsageError("--seeds needs at least one number, each once.")
    return numbers


def _runs(paths: tuple[Path, ...]) -> tuple[dict[str, Any], ...]:
    """Return the benchmark lines that have a Dice."""
    return tuple(line for path in paths for line in _lines(path))


def _lines(path: Path) -> list[dict[str, Any]]:
    from ..core.errors import FileError
    from ..core.files import read_json_lines

    lines = read_json_lines(path)
    try:
        return [line for line in lines if line.get("dice") is not None and line["case"] and line["engine"]]
    except (KeyError, AttributeError) as error:
        raise FileError(f"Could not read {path}: {error}.", hint="Each line needs case, engine and dice.") from error


def _once_a_tenth() -> Callable[[Update], bool]:
    shown = 0

    def is_due(update: Update) -> bool:
        nonlocal shown
        tenth, before = int(10 * update.fraction), shown
        shown = max(tenth, before)
        return tenth > before

    return is_due
