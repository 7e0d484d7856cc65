"""Stand-ins for `slicer.packaging`, `slicer.i18n`, `SampleData` and `PyTorchUtils`: they record, nothing is fetched."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer

FILE_TYPE = "VolumeFile"


@dataclass
class PackageDesk:
    """What pip would have been asked for, and how it answers."""

    calls: list[tuple[str, list[str]]] = field(default_factory=list)
    refuse: bool = False
    missing: set[str] = field(default_factory=set)
    on_install: Callable[[list[str]], None] | None = None

    def reset(self) -> None:
        """Forget calls and settings."""
        self.calls.clear()
        self.missing.clear()
        self.refuse, self.on_install = False, None

    def _ask(self, function: str, names: list[str]) -> None:
        self.calls.append((function, names))
        if self.refuse:
            raise RuntimeError("User declined installation of required packages")
        if self.on_install is not None:
            self.on_install(names)


@dataclass
class TorchDesk:
    """How the stand-in of the PyTorch extension answers."""

    installed: bool = False
    refuse: bool = False
    calls: list[dict[str, Any]] = field(default_factory=list)


packages = PackageDesk()
torch_extension = TorchDesk()


def _requirements(items: Any) -> list[Any]:
    from packaging.requirements import InvalidRequirement, Requirement

    if isinstance(items, str):
        try:
            return [Requirement(items)]
        except InvalidRequirement:
            return [Requirement(part) for part in items.split()]
    return [
        Requirement(item) if isinstance(item, str) else item for item in (items if isinstance(items, list) else [items])
    ]


def _arguments(requirements: Any) -> list[str]:
    """Return the arguments of pip: options are allowed beside requirements."""
    return requirements.split() if isinstance(requirements, str) else list(map(str, requirements))


def load_requirements(path: str | Path) -> list[Any]:
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [_requirements(line)[0] for line in lines if line and not line.startswith(("#", "-"))]


def pip_check(requirements: Any) -> bool:
    for item in _requirements(requirements):
        if item.marker is not None and not item.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(item.name)
        except importlib.metadata.PackageNotFoundError:
            return False
        if item.name in packages.missing or version not in item.specifier:
            return False
    return True


def pip_ensure(requirements: Any, constraints: Any = None, skip_packages: Any = None, prompt_install: bool = True,
               prompt_restart: bool = True, requester: str | None = None, skip_in_testing: bool = True,
               show_progress: bool = True) -> None:  # fmt: skip
    """Record what is missing; unlike Slicer it does so in testing mode too, where Slicer does nothing."""
    missing = [item for item in _requirements(requirements) if not pip_check([item])]
    if missing:
        packages._ask("pip_ensure", [str(item) for item in missing])


def pip_install(requirements: Any, **_options: Any) -> None:
    packages._ask("pip_install", _arguments(requirements))


def pip_uninstall(requirements: Any, **_options: Any) -> None:
    packages._ask("pip_uninstall", _arguments(requirements))


@contextmanager
def as_slicer_5_10() -> Iterator[None]:
    """Hide what Slicer 5.10 lacks: `slicer.packaging` and `registerCustomSampleDataCategory`."""
    logic = sys.modules["SampleData"].SampleDataLogic
    register, module = logic.registerCustomSampleDataCategory, sys.modules.pop("slicer.packaging")
    install = slicer.util.pip_install
    del slicer.packaging, logic.registerCustomSampleDataCategory
    sys.modules["slicer.packaging"] = None  # type: ignore[assignment]  # makes the import fail
    slicer.util.pip_install = pip_install
    try:
        yield
    finally:
        sys.modules["slicer.packaging"] = slicer.packaging = module
        slicer.util.pip_install = install
        logic.registerCustomSampleDataCategory = register


def set_pytorch_extension(present: bool, *, torch_installed: bool = False, refuse: bool = False) -> None:
    """Pretend that the PyTorch extension is there or not.

    Parameters
    ----------
    present
        Whether `import PyTorchUtils` works.
    torch_installed
        What `torchInstalled()` says. The real package is never touched.
    refuse
        Whether the user declines in `installTorch`, which then returns None.
    """
    torch_extension.installed, torch_extension.refuse = torch_installed, refuse
    torch_extension.calls.clear()
    sys.modules.pop("PyTorchUtils", None)
    if hasattr(slicer.modules, "pytorchutils"):
        del slicer.modules.pytorchutils
    if present:
        module = types.ModuleType("PyTorchUtils")
        module.PyTorchUtilsLogic = PyTorchUtilsLogic  # type: ignore[attr-defined]
        sys.modules["PyTorchUtils"] = module
        slicer.modules.pytorchutils = module


class PyTorchUtilsLogic:
    """The calls other extensions make."""

    @staticmethod
    def torchInstalled() -> bool:
        return torch_extension.installed

    def installTorch(self, askConfirmation: bool = False, forceComputationBackend: str | None = None,
                     torchVersionRequirement: str | None = None,
                     torchvisionVersionRequirement: str | None = None) -> Any:  # fmt: skip
        torch_extension.calls.append({"askConfirmation": askConfirmation, "backend": forceComputationBackend,
                                      "torch": torchVersionRequirement})  # fmt: skip
        if torch_extension.refuse:
            return None
        torch_extension.installed = True
        return self.torch

    @property
    def torch(self) -> Any:
        return importlib.import_module("torch")

    def getDevice(self) -> str:
        return "cpu"


class SampleDataSource:
    """One registered sample, with the fields and the comparison of Slicer's own class."""

    def __init__(self, sampleName: str | None = None, sampleDescription: str | None = None, uris: Any = None,
                 fileNames: Any = None, nodeNames: Any = None, checksums: Any = None, loadFiles: Any = None,
                 customDownloader: Any = None, thumbnailFileName: str | None = None, loadFileType: Any = None,
                 loadFileProperties: Any = None) -> None:  # fmt: skip
        self.sampleName, self.sampleDescription = sampleName, sampleDescription or sampleName
        if isinstance(uris, str):
            uris, fileNames, nodeNames, loadFileType = [uris], [fileNames], [nodeNames], [loadFileType]
        if not isinstance(loadFileType, list):
            loadFileType = [loadFileType] * len(uris)
        if len({len(item) for item in (uris, fileNames, nodeNames, loadFileType)}) != 1:
            raise ValueError("All fields of sample data source must have the same length")
        self.uris, self.fileNames, self.nodeNames = uris, fileNames, nodeNames
        self.loadFileType = [kind or FILE_TYPE for kind in loadFileType]
        self.customDownloader, self.thumbnailFileName = customDownloader, thumbnailFileName
        self.checksums, self.loadFiles, self.loadFileProperties = checksums, loadFiles, loadFileProperties

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other)

    def __str__(self) -> str:
        return f"{self.sampleName} {self.uris} {self.fileNames} {self.nodeNames} {self.customDownloader}"


class SampleDataLogic:
    """Registers and loads samples; local files are loaded, network addresses are refused.

    As in Slicer, `customDownloader` is for the button of the module alone: `downloadSamples` takes the files of the
    cache, and fetches those that are not there from their addresses.
    """

    @staticmethod
    def registerCustomSampleDataCategory(category: str, displayName: str | None = None, **_options: Any) -> None:
        slicer.modules.sampleDataSources.setdefault(category, [])

    @staticmethod
    def registerCustomSampleDataSource(category: str = "Custom", sampleName: str | None = None, uris: Any = None,
                                       fileNames: Any = None, nodeNames: Any = None, customDownloader: Any = None,
                                       thumbnailFileName: str | None = None, loadFileType: Any = FILE_TYPE,
                                       loadFiles: Any = None, loadFileProperties: Any = None,
                                       checksums: Any = None) -> None:  # fmt: skip
        source = SampleDataSource(
            sampleName=sampleName, uris=uris, fileNames=fileNames, nodeNames=nodeNames,
            thumbnailFileName=thumbnailFileName, loadFileType=loadFileType, loadFiles=loadFiles,
            loadFileProperties=loadFileProperties, checksums=checksums, customDownloader=customDownloader,
        )  # fmt: skip
        registered = slicer.modules.sampleDataSources.setdefault(category, [])
        if source not in registered:
            registered.append(source)

    @staticmethod
    def sampleDataSourcesByCategory(category: str | None = None) -> Any:
        sources = slicer.modules.sampleDataSources
        return sources if category is None else sources.get(category, [])

    def downloadSamples(self, name: str) -> list[Any]:
        sources = (item for group in slicer.modules.sampleDataSources.values() for item in group)
        source = next((item for item in sources if item.sampleName == name), None)
        if source is None:
            raise ValueError(f"no sample named {name!r} is registered")
        return self.downloadFromSource(source)

    def downloadFromSource(self, source: SampleDataSource) -> list[Any]:
        cache = Path(slicer.mrmlScene.GetCacheManager().GetRemoteCacheDirectory())
        loaded = []
        for uri, name, title, kind in zip(
            source.uris, source.fileNames, source.nodeNames, source.loadFileType, strict=True
        ):
            path = cache / name
            if not path.is_file():
                local = Path(uri.removeprefix("file://"))
                if not local.is_file():
                    raise RuntimeError(f"the stand-in downloads nothing: {uri}")
                path.write_bytes(local.read_bytes())
            node = slicer.util.loadNodeFromFile(str(path), kind, {"name": title} if title else {})
            storage = node.GetStorageNode()
            if storage is not None:
                slicer.mrmlScene.RemoveNode(storage)
                node.SetAndObserveStorageNodeID(None)
            loaded.append(node)
        return loaded

    def downloadSample(self, name: str) -> Any:
        return self.downloadSamples(name)[0]


def install() -> None:
    """Put the stand-in modules into `sys.modules` and into `slicer`."""
    packaging = types.ModuleType("slicer.packaging")
    for function in (load_requirements, pip_check, pip_ensure, pip_install, pip_uninstall):
        setattr(packaging, function.__name__, function)
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text: text  # type: ignore[attr-defined]
    i18n.translate = lambda context, text: text  # type: ignore[attr-defined]
    sample_data = types.ModuleType("SampleData")
    sample_data.SampleDataLogic = SampleDataLogic  # type: ignore[attr-defined]
    sample_data.SampleDataSource = SampleDataSource  # type: ignore[attr-defined]
    sys.modules["slicer.packaging"] = slicer.packaging = packaging
    sys.modules["slicer.i18n"] = slicer.i18n = i18n
    sys.modules["SampleData"] = sample_data
    slicer.modules.sampleDataSources = {}
