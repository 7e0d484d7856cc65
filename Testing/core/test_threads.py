"""The bound of one library's threads is not changed by another one in the same process."""

import subprocess
import sys

import pytest

FIRST_KERNEL = """
import numpy as np, torch
torch.set_num_threads(1)
torch.nn.functional.conv3d(torch.ones(1, 4, 32, 32, 32), torch.ones(4, 4, 3, 3, 3))
from DeepVsClassicRegLib.core.numba_setup import thread_bound
from DeepVsClassicRegLib.core.transforms.unfold_kernels import smallest_determinants

with thread_bound(1):
    smallest_determinants(np.zeros((3, 40, 40, 40), np.float32), np.zeros((40, 40, 40), np.float32))
    print(torch.get_num_threads())
print(torch.get_num_threads())
"""


def test_the_first_kernel_of_numba_leaves_the_threads_of_torch_alone(monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("numba")
    # Several cores for numba, also where the tests run on one.
    monkeypatch.setenv("NUMBA_NUM_THREADS", "2")
    done = subprocess.run([sys.executable, "-c", FIRST_KERNEL], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "1"]
