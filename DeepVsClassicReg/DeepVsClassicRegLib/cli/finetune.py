"""`dvcreg finetune`."""

from __future__ import annotations

from typing import Any

import click

from .training_options import training_options

HELP = """Fine-tune a trained model on your own cases.

All options are those of `dvcreg train`, but training starts from the weights of a model (by name or folder), whose
method, settings, grid and voxel size are the defaults. With labeled cases (--supervision labels, the default where
the method supports it) the network learns to align these labels on such images; measures on the training cases do
not predict those on other cases. The model itself is not changed; the result is a new model folder.

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
    from .training_run import train_from_options

    options, start = started_from(context, options)
    return train_from_options(context, options, start)
