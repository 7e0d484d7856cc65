"""`dvcreg finetune`."""

from __future__ import annotations

from typing import Any

import click

from .training_options import training_options

HELP = """Adapt a trained model to one's own cases.

Everything is as for `dvcreg train`, but the weights start from those of a model (by name or folder), and its method,
settings, grid and voxel size hold where nothing else is said. With labeled cases (--supervision labels, the default
where the method can) the network learns to align those labels on images like these; how well it does on them is not
how well it does on others. The model itself is not changed, the result is a model folder of its own.

\b
Examples:
  dvcreg finetune --model synthmorph-brain --data pairs.csv --steps 2000 --out my-model
  dvcreg finetune --model ./former/model --data FOLDER --linear first --learning-rate 3e-5 --hours 2 --out my-model
  dvcreg finetune --resume --out my-model --hours 4
"""


@click.command("finetune", help=HELP)
@click.option("--model", help="Model to start from: a name (`dvcreg models`) or a model folder.")
@training_options
@click.pass_context
def command(context: click.Context, **options: Any) -> int:
    """Adapt a model."""
    from .training_config import started_from
    from .training_run import run_training

    options, start = started_from(context, options)
    return run_training(context, options, start)
