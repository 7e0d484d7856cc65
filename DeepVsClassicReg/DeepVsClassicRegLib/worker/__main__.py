"""`python -m DeepVsClassicRegLib.worker JOB_FOLDER`."""

from __future__ import annotations

import sys

from .run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
