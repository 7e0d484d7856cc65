"""`dvcreg cohort`: check, run and page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.progress import Progress, Update
from ..worker.protocol import EXIT_RESULT, EXIT_USER
from .options import F, combined, setting_option, settings_of
from .output import console, show_entries, show_error, show_json, show_note, show_table
from .running import shown_updates

if TYPE_CHECKING:
    from ..core.cohort.folders import FolderOptions
    from ..worker.cohort import CohortRun

PATH = click.Path(path_type=Path)
MOST_FAILURES = 20

HELP = """Register many pairs, on this computer or a cluster, and see the results on one page.

\b
dvcreg cohort check pairs.csv
dvcreg cohort run pairs.csv --engines instance --workers 2 --out results
dvcreg cohort page results
"""
SOURCES = """\b
MANIFEST is one of
  a .csv            columns fixed, moving; optional id, subject, session, group, fixed_seg, moving_seg, fixed_mask,
                    moving_mask, fixed_landmarks, moving_landmarks, initial; other columns are copied to the table
  a .json           Learn2Reg dataset with 'pairs', 'training_paired_images' or 'registration_val'
  a BIDS folder     to a template (--fixed), or --between sessions or subjects; --suffix selects the images
  a folder          images and label maps with matching names, or with --pattern '{subject}_{session}_t1.nii.gz'
  a 4D NIfTI        every frame to frame 0 (--frame), or to --fixed
"""
CHECK_HELP = f"""Check a manifest and list all problems: missing files, doubled ids, unreadable headers.

{SOURCES}
\b
Examples:
  dvcreg cohort check pairs.csv
  dvcreg cohort check bids --fixed template.nii.gz --suffix T2w

Exit code 0 without problems, 2 with problems.
"""
RUN_HELP = f"""Register all pairs of a manifest and write a table and a page.

{SOURCES}
The manifest is checked before anything is computed. Every pair is registered as by `dvcreg register`, in its own
process with limits (--timeout, --memory); one failed pair stops nothing. The same command continues an interrupted run:
a pair is kept when its report is complete and its inputs (size and time of change; with --by-content the whole
content), engine and settings are the same. Failed pairs are repeated. Ctrl-C ends all processes and keeps what is done.

\b
Written to --out:
  pairs/ID/ENGINE/    the files of `dvcreg register`, thumbnail.jpg, and record.json
  cohort.csv          one line per pair and engine with all measures before and after, what needs attention first
  cohort.parquet      the same for pandas, R or DuckDB
  cohort.html         montage, verdicts, distributions and a table with filters; a click opens the report of a pair

--scheduler local uses this computer; 'slurm', 'pbs' and others submit jobs through dask-jobqueue (--batch passes
options such as queue=long). An address such as tcp://host:8786 is a running scheduler: start it with
`dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`; all computers need the same paths. The pairs of
lost workers run again; a scheduler may be restarted during a run.

\b
Examples:
  dvcreg cohort run pairs.csv --engines instance,ants:quick --workers 2 --threads 2 --out results
  dvcreg cohort run bids --between sessions --engines instance --timeout 600 --memory 4GB --out follow-up
  dvcreg cohort run pairs.csv --engines instance --scheduler slurm --workers 50 --memory 8GB --out all

Exit code 0 when at least one registration is done.
"""
PAGE_HELP = """Write cohort.csv, cohort.parquet and cohort.html again, from what is in the folder of a cohort.

It works during a run as well. Exit code 0 when the files were written.
"""


@click.group("cohort", help=HELP)
def command() -> None:
    """Register many pairs."""


def _source_options(function: F) -> F:
    return combined(
        [
            click.argument("manifest", type=PATH),
            click.option("--fixed", type=PATH, help="Template of a folder or 4D volume: fixed in all pairs."),
            click.option("--fixed-seg", type=PATH, help="Segmentation of the template."),
            click.option("--fixed-mask", type=PATH, help="Mask of the template."),
            click.option(
                "--between",
                type=click.Choice(["sessions", "subjects"]),
                default=None,
                help="Pairs of a folder: later sessions to the first one of each subject, or all ordered pairs.",
            ),
            click.option("--pattern", default="", help="Images of a folder, with {subject}, {session}, {group} and *."),
            click.option("--seg-pattern", default="", help="Their segmentations."),
            click.option("--mask-pattern", default="", help="Their masks."),
            click.option("--suffix", default="T1w", show_default=True, help="Images of a BIDS folder."),
            click.option("--frame", default=0, show_default=True, help="Fixed frame of a 4D NIfTI."),
        ]
    )(function)


@command.command("check", help=CHECK_HELP)
@_source_options
@click.option("--json", "as_json", is_flag=True, help="Print pairs and problems as JSON to standard output.")
def check_command(manifest: Path, as_json: bool, **options: Any) -> int:
    """Check a manifest."""
    from ..core.files import jsonable
    from ..worker.cohort import check

    with shown_updates(lambda _update: False) as listener:
        found, problems = check(manifest, options=_folder(options), progress=Progress(listener))
    if as_json:
        show_json({"pairs": jsonable(found.pairs), "problems": jsonable(problems)})
    else:
        if problems:
            rows = [[entry.place, entry.message, entry.remedy] for entry in problems]
            show_table("Problems", ["Where", "Problem", "Remedy"], rows)
        subjects = len({pair.subject for pair in found.pairs if pair.subject})
        about = f", {subjects} subjects" if subjects else ""
        console().print(f"{len(found.pairs)} pairs{about}, {len(problems)} problems.")
    return EXIT_USER if problems else EXIT_RESULT


@command.command("run", help=RUN_HELP)
@_source_options
@click.option("--engines", "-e", required=True, metavar="A,B:PRESET,...", help="Engines, each with an optional preset.")
@setting_option
@click.option("--out", "-o", type=PATH, required=True, help="Folder to write into.")
@click.option("--pairs", default="", metavar="ID,ID", help="Only these pairs.")
@click.option("--scheduler", default="local", show_default=True, help="local, slurm (pbs, ...) or an address.")
@click.option("--workers", default=1, show_default=True, help="Number of pairs that are registered at a time.")
@click.option("--threads", default=0, show_default=True, help="CPU threads of a pair; 0: all cores / workers.")
@click.option("--memory", default="", metavar="4GB", help="Memory limit of a pair; also that of a batch job.")
@click.option("--timeout", default=0.0, metavar="SECONDS", help="Time limit of a pair.  [default: none]")
@click.option("--walltime", default="", metavar="HH:MM:SS", help="Time limit of a job of a batch system.")
@click.option("--batch", multiple=True, metavar="NAME=VALUE", help="Option of dask-jobqueue (repeatable).")
@click.option("--device", default="auto", show_default=True, help="Device of deep engines: auto, cpu, cuda or mps.")
@click.option("--seed", default=0, show_default=True, help="Seed of the random number generators.")
@click.option(
    "--outputs",
    type=click.Choice(["all", "transform", "report"]),
    default="all",
    show_default=True,
    help="Files that are kept of each pair.",
)
@click.option("--no-html", is_flag=True, help="No report page per pair (saves about a second per pair).")
@click.option("--by-content", is_flag=True, help="Recognize changed inputs by their content, not by size and time.")
@click.option("--quiet", "-q", is_flag=True, help="Print only errors.")
@click.option("--json", "as_json", is_flag=True, help="Print counts, failures and files as JSON to standard output.")
def run_command(manifest: Path, **options: Any) -> int:
    """Register all pairs."""
    from ..core.cohort.cluster import ClusterOptions
    from ..worker.cohort import RunOptions, run

    quiet = options["quiet"]
    wanted = RunOptions(
        settings=settings_of(options["settings"]),
        device=options["device"],
        seed=options["seed"],
        timeout_s=options["timeout"],
        memory=options["memory"],
        outputs=options["outputs"],
        pages=not options["no_html"],
        content=options["by_content"],
    )
    cluster = ClusterOptions(
        scheduler=options["scheduler"],
        workers=options["workers"],
        threads=options["threads"],
        memory=options["memory"],
        walltime=options["walltime"],
        batch=settings_of(options["batch"]),
    )

    def on_dashboard(link: str) -> None:
        if link and not quiet:
            show_note(f"Workers and tasks: {link}")

    with shown_updates(_once_a_twentieth(), quiet=quiet) as listener:
        done = run(
            manifest,
            options["engines"],
            options["out"],
            folder=_folder(options),
            options=wanted,
            cluster=cluster,
            pairs=tuple(filter(None, options["pairs"].split(","))),
            progress=Progress(listener),
            on_dashboard=on_dashboard,
        )
    _show(done, quiet=quiet, as_json=options["as_json"])
    return EXIT_RESULT if done.done + done.reused or not done.total else EXIT_USER


@command.command("page", help=PAGE_HELP)
@click.argument("out", type=PATH)
def page_command(out: Path) -> int:
    """Write table and page again."""
    from ..worker.cohort import page

    show_entries("Written", page(out))
    return EXIT_RESULT


def _folder(options: dict[str, Any]) -> FolderOptions:
    from ..core.cohort.folders import FolderOptions

    names = ("fixed", "fixed_seg", "fixed_mask", "pattern", "seg_pattern", "mask_pattern", "suffix", "frame")
    return FolderOptions(between=options["between"] or "", **{name: options[name] for name in names})


def _show(done: CohortRun, *, quiet: bool, as_json: bool) -> None:
    if as_json:
        failures = [{"pair": f.pair, "engine": f.engine, "message": f.message, "hint": f.hint} for f in done.failures]
        counts = {name: getattr(done, name) for name in ("total", "reused", "done", "failed")}
        show_json({**counts, "failures": failures, "files": {name: str(path) for name, path in done.files.items()}})
    elif not quiet:
        kept = f", {done.reused} kept from an earlier run" if done.reused else ""
        console().print(f"{done.total} registrations: {done.done} done{kept}, {done.failed} failed.")
        show_entries("Written", done.files)
    for failure in done.failures[:MOST_FAILURES]:
        show_error(f"{failure.pair}, {failure.engine}: {failure.message}", failure.hint)
    if len(done.failures) > MOST_FAILURES:
        show_note(f"{len(done.failures) - MOST_FAILURES} more failures are listed on the page.")


def _once_a_twentieth() -> Any:
    shown = -1

    def is_due(update: Update) -> bool:
        nonlocal shown
        step, before = int(20 * update.fraction), shown
        shown = max(step, before)
        return step > before

    return is_due
