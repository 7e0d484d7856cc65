"""`dvcreg train`."""

from __future__ import annotations

from typing import Any

import click

from .training_options import training_options

HELP = """Train a registration network.

The folder --out receives training.json (the configuration), checkpoint.safetensors, curves.csv, validation.csv,
curves.png, train.log, and model/ with the best weights so far: a model folder that the engine `network` can use at
any time. Ctrl-C and SIGTERM write a checkpoint and stop; the same command with --resume continues from the checkpoint,
also after a crash. Without a limit (--steps, --hours) training continues until it is stopped.

\b
Values of --data:
shapes              generated shapes: needs no data, for any anatomy and contrast
  labels:FOLDER       images generated from the label maps in a folder
  labels:FOLDER+shapes  both alternately (give one twice to use it twice as often)
  appearance:FOLDER   images drawn from a model of the shapes and intensities of the images in a folder, at least 3,
                      which --teacher registers to the first one; labels are those of the first one
  sections:FOLDER     2D: neighboring sections of a folder of images, of a volume, or of each volume of a folder
  dataset.json        Learn2Reg format ("training" or "numTraining", optional "labels", "registration_val" pairs)
  pairs.csv           columns fixed, moving, fixed_label, moving_label; or image, label, mask: all ordered pairs
  FOLDER              images; label maps have the same names in FOLDER/labels

\b
Examples:
  dvcreg train --method synthmorph --data shapes --size 96 --spacing 2 --hours 10 --out my-model
  dvcreg train --method voxelmorph --supervision labels --data pairs.csv --steps 20000 --out my-model
  dvcreg train --method lapirn --supervision labels --data FOLDER --size own --augment usual --hours 2 --out my-model
  dvcreg train --method voxelmorph --supervision displacement --teacher elastix --data FOLDER --hours 2 --out my-model
  dvcreg train --method ssemnet --data sections:FOLDER --size 192,192 --spacing 1 --steps 2000 --out my-model
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
    from .training_run import train_from_options

    return train_from_options(context, options)
