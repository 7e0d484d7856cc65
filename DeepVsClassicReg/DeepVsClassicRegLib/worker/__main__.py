"""`python -m DeepVsClassicRegLib.worker [JOB_FOLDER]`: one job, or one after another as a warm worker."""

from __future__ import annotations

import sys

from . import run, warm

if __name__ == "__main__":
    sys.exit(run.main(sys.argv[1:]) if len(sys.argv) > 1 else warm.main())
