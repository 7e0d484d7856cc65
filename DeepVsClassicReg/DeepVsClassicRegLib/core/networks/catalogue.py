"""The list of learned methods: name -> where its class is. Nothing is imported before it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ..registry import Registry

if TYPE_CHECKING:
    from .base import Method, MethodInfo

METHODS = Registry(
    __package__,
    "There is no method '{name}'.",
    {
        "voxelmorph": "voxelmorph:VoxelMorph",
        "voxelmorph-diff": "voxelmorph_diff:VoxelMorphDiff",
        "synthmorph": "synthmorph:SynthMorph",
        "lapirn": "lapirn:LapIRN",
        "dlir": "dlir:DLIR",
        "krebs-cvae": "krebs_cvae:KrebsCVAE",
        "cooperative": "cooperative:Cooperative",
        "multilayer": "multilayer:Multilayer",
        "birnet": "birnet:BIRNet",
        "symnet": "symnet:SymNet",
        "lku-net": "lku_net:LKUNet",
        "icnet": "icnet:ICNet",
        "transmorph": "transmorph:TransMorph",
        "vfa": "vfa:VFA",
        "dual-prnet": "dual_prnet:DualPRNet",
        "localnet": "localnet:LocalNet",
        "globalnet": "localnet:GlobalNet",
        "istn": "istn:ISTN",
        "sitreg": "sitreg:SITReg",
        "quicksilver": "quicksilver:Quicksilver",
        "haskins": "haskins:Haskins",
        "simonovsky": "simonovsky:Simonovsky",
        "eppenhof": "eppenhof:Eppenhof",
        "ssemnet": "ssemnet:SsEMnet",
        "rigid-agent": "rigid_agent:RigidAgent",
        "deepatlas": "deepatlas:DeepAtlas",
        "segmenter": "segmenter:Segmenter",
        "deformable-agent": "deformable_agent:DeformableAgent",
    },
)


def method_names() -> tuple[str, ...]:
    """Return the names of all methods."""
    return tuple(METHODS)


def method_infos() -> tuple[MethodInfo, ...]:
    """Return the descriptions of all methods (imports torch)."""
    return tuple(get_method(name).info for name in METHODS)


def field_methods(dimensions: int) -> tuple[str, ...]:
    """Return the names of the methods that predict a displacement field in 2 or 3 dimensions (imports torch)."""
    return tuple(info.name for info in method_infos() if info.kind == "field" and dimensions in info.dimensions)


def get_method(name: str) -> Method:
    """Return a method by name (imports torch).

    Raises
    ------
    SettingsError
        When there is no method of this name.
    """
    return cast("Method", METHODS.load(name)())
