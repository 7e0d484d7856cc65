"""The library of DeepVsClassicReg: `import DeepVsClassicRegLib as dvc; dvc.register(dvc.load_pair(f, m))`.

Names are imported on first use, so importing the package loads neither numpy nor SimpleITK nor torch.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "build_atlas",
    "cohort",
    "compare",
    "correct_motion",
    "engine_names",
    "evaluate",
    "finetune",
    "label_by_atlases",
    "load_pair",
    "monitor",
    "recommend",
    "register",
    "resume_training",
    "segment",
    "stack",
    "train",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from .core.version import VERSION

        return VERSION
    if name == "cohort":
        from .worker import cohort

        return cohort
    if name in __all__:
        from .core import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
