"""`dvcreg train`."""

from __future__ import annotations

from typing import Any

import click

from .training_options import training_options

HELP = """Train a registration network.

The folder --out gets training.json (what is trained), checkpoint.safetensors, curves.csv, validation.csv, curves.png,
train.log, and model/ with the best weights so far: a model folder that the engine `network` can use at any time.
Ctrl-C and SIGTERM write a checkpoint and leave; the same command with --resume goes on exactly there, also after a
crash or kill. Without a limit (--steps, --hours) it trains until it is stopped.

\b
What --data can be:
  shapes              generated shapes: no data needed, any anatomy and contrast
  labels:FOLDER       images generated from the label maps in a folder
  labels:FOLDER+shapes  both in turn (name one twice to see it twice as often)
  dataset.json        Learn2Reg style ("training" or "numTraining", optional "labels", "registration_val" pairs)
  pairs.csv           columns fixed, moving, fixed_label, moving_label; or image, label, mask: all ordered pairs
  FOLDER              images, with their label maps in FOLDER/labels under the same names

\b
Examples:
  dvcreg train --method synthmorph --data shapes --size 96 --spacing 2 --hours 10 --out my-model
  dvcreg train --method voxelmorph --supervision labels --data pairs.csv --steps 20000 --out my-model
  dvcreg train --method lapirn --supervision labels --data FOLDER --size own --augment usual --hours 2 --out my-model
  dvcreg train --method voxelmorph --supervision displacement --teacher elastix --data FOLDER --hours 2 --out my-model
  dvcreg train --resume --out my-model --hours 20
  dvcreg train --method voxelmorph-diff --data FOLDER --steps 50000 --dry-run --out my-model
  torchrun --nproc-per-node 4 -m DeepVsClassicRegLib.cli.main train --method synthmorph --data shapes --steps 50000 \\
      --out my-model
"""


@click.command("train", help=HELP)
@click.option("--method", "-m", help="Name of a method, see `dvcreg methods`.")
@training_options
@click.pass_context
def command(context: click.Context, **options: Any) -> int:
    """Train a network."""
    from .training_run import run_training

    return run_training(context, options)
