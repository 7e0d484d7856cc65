"""The instance engine's torch level never waits for its device, and a full device is survived."""

from __future__ import annotations

import numpy as np
import pytest
from DeepVsClassicRegLib.core.device import Compute, out_of_memory
from DeepVsClassicRegLib.core.engines.base import Recorder
from DeepVsClassicRegLib.core.engines.instance import backend as backends
from DeepVsClassicRegLib.core.engines.instance.backend import (
    NUMBA,
    TORCH,
    Attempt,
    Backend,
    choose_backend,
    first_that_fits,
)
from DeepVsClassicRegLib.core.engines.instance.level import Steps, region_of
from DeepVsClassicRegLib.core.engines.instance.problem import LevelImages
from DeepVsClassicRegLib.core.errors import RegistrationError
from DeepVsClassicRegLib.core.progress import Progress

torch = pytest.importorskip("torch")
pytest.importorskip("numba")
SHAPE = (14, 12, 16)


def level_of(similarity):
    from DeepVsClassicRegLib.core.engines.instance.torch_level import TorchLevel, make_term

    fixed, moving = np.random.default_rng(1).random((2, *SHAPE)).astype(np.float32)
    region = region_of(np.ones(SHAPE, bool), margin=1)
    images = LevelImages(fixed, moving, region, None, None, (1.0, 1.0, 1.0), (1, 1, 1))
    return TorchLevel([(make_term(similarity, images, 2, "cpu"), 1.0)], region, None, SHAPE, (1.0, 1.0, 1.0), "cpu")


@pytest.mark.parametrize("similarity", ["lncc", "mi", "mind", "mse"])
def test_iterations_never_wait_for_the_device_nor_use_double_precision(similarity):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):
        """Counts the operations that hand a number to the host, and those that give doubles."""

        waits, doubles = 0, 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            self.waits += function is torch.ops.aten._local_scalar_dense.default
            self.doubles += isinstance(out, torch.Tensor) and out.dtype == torch.float64
            return out

    level = level_of(similarity)
    with torch.no_grad(), Watch() as watch:
        for _ in range(4):
            level.evaluate()
            level.advance(Steps())
        assert watch.waits == 0
        assert watch.doubles == 0
        torch.ones(1, dtype=torch.float64).item()
        assert (watch.waits, watch.doubles) == (1, 1), "the watch itself must see what it counts"
    values = level.objectives()
    assert len(values) == 4
    assert values[-1] < values[0]
    assert level.objectives() == []


def on_gpu(solve, *, memory_gib=4.0):
    recorder = Recorder(Compute(device="cpu", threads=1))
    first = Attempt(Backend(TORCH, "cuda", 1), memory_gib)
    answer = first_that_fits(
        solve, first, compute=Compute(device="cuda", threads=1), progress=Progress(), recorder=recorder
    )
    return answer, recorder


def test_a_full_device_leads_to_the_cpu_and_is_reported():
    tried = []

    def solve(attempt):
        tried.append((attempt.backend.kind, attempt.backend.device))
        if attempt.backend.device == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return "done"

    answer, recorder = on_gpu(solve)
    assert answer == "done"
    assert tried == [(TORCH, "cuda"), (NUMBA, "cpu")]
    assert recorder.device == "cpu"
    assert recorder.packages == ("numba",)
    assert any("ran out of memory" in note and "CPU" in note for note in recorder.notes)


def test_without_numba_the_device_is_tried_coarser_first(monkeypatch):
    monkeypatch.setattr(backends, "numba_found", lambda: False)
    tried = []

    def solve(attempt):
        tried.append((attempt.backend.device, attempt.memory_gib))
        if attempt.memory_gib > 1.5 and attempt.backend.device == "cuda":
            raise RuntimeError("MPS backend out of memory (MPS allocated: 5.00 GB)")
        return attempt.backend.device

    answer, recorder = on_gpu(solve)
    assert answer == "cuda"
    assert tried == [("cuda", 4.0), ("cuda", 2.0), ("cuda", 1.0)]
    assert len(recorder.notes) == 2
    tried.clear()
    answer, recorder = on_gpu(solve, memory_gib=64.0)
    assert answer == "cpu"
    assert [device for device, _ in tried] == ["cuda"] * 3 + ["cpu"]


def test_other_errors_are_not_mistaken_for_a_lack_of_memory():
    def solve(attempt):
        raise RuntimeError("expected scalar type Float but found Double")

    with pytest.raises(RuntimeError, match="scalar type"):
        on_gpu(solve)
    assert out_of_memory(MemoryError())


def test_a_torch_that_cannot_sample_on_the_device_is_not_used(monkeypatch):
    monkeypatch.setattr(backends, "_gpu_likely", lambda: True)
    monkeypatch.setattr(backends, "torch_device", lambda wanted: "mps")
    monkeypatch.setattr(backends, "samples_volumes", lambda device: False)
    chosen = choose_backend(Compute(device="auto", threads=1), Progress())
    assert chosen.device == "cpu"
    assert any("mps" in note for note in chosen.notes)
    with pytest.raises(RegistrationError, match="cannot sample"):
        choose_backend(Compute(device="mps", threads=1), Progress())


def test_sampling_is_tried_for_real():
    assert backends.samples_volumes("cpu")
