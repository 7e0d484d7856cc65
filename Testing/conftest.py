"""Settings of every test run."""

import os

# Volumes in tests are tiny: threads of BLAS and torch would only wait for each other, worst on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
