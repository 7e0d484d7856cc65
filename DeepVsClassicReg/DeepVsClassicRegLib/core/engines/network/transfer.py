"""Deformation transfer: the deformation that a network codes for one pair, decoded for the image of another subject."""

from __future__ import annotations

from pathlib import Path

import torch

from ...errors import SettingsError
from ...images.grid import is_single_slice
from ...images.intensity import normalized
from ...images.io import read_volume
from ...images.resample import sampled_on, warp_volume
from ...images.volume import Volume
from ...networks.base import RegistrationNetwork
from ...networks.card import Card
from ...pair import Pair
from ...result import Extra
from ...transforms.transform import Transform
from .grid import model_grid, plane_grid
from .inputs import Image, NetworkInputs
from .output import finished_field, in_space
from .predict import checked

TRANSFERRED, IMAGE = "transferred", "transferred_image"


def checked_other(path: str, network: RegistrationNetwork, card: Card) -> Volume | None:
    """Return the image to which the deformation is to be transferred, None without a path.

    Raises
    ------
    SettingsError
        When the network cannot transfer deformations, or is for images of other dimensions.
    RegistrationError
        When the file cannot be read.
    """
    if not path:
        return None
    if not network.transfers:
        raise SettingsError(
            f"The model '{card.name}' cannot transfer deformations to another image.",
            hint="Leave transfer_to empty, or choose a model of the method krebs-cvae.",
        )
    other = read_volume(Path(path).expanduser())
    if is_single_slice(other.grid.size) != (card.dimensions == 2):
        wanted = "a single slice" if card.dimensions == 2 else "a volume of several slices"
        raise SettingsError(f"The model '{card.name}' needs {wanted} to transfer to, got '{other.name}'.")
    return other


def transferred(
    network: RegistrationNetwork, card: Card, inputs: NetworkInputs, other: Volume, *, lowest: float, unit_mm: float
) -> tuple[Extra, Extra]:
    """Return the deformation of a pair transferred to another image, and that image deformed.

    Parameters
    ----------
    network : RegistrationNetwork
        In evaluation mode, with `transfers`.
    card : Card
        Its card.
    inputs : NetworkInputs
        The pair on the grid of the network.
    other : Volume
        What the moving volume of the pair is for another subject, for example the same phase of another heart.
    lowest : float
        Lowest Jacobian determinant of the transferred map.
    unit_mm : float
        Unit of length in which the grid of the network is given.

    Returns
    -------
    tuple of Extra
        The transform, without any linear start, which maps points of the deformed other image to points of `other`,
        and the deformed image on the grid of `other`.
    """
    plane, multiple = card.dimensions == 2, max(16, network.multiple)
    seen = other.scaled(1 / unit_mm)
    spacing = float(inputs.grid.spacing_mm[0])
    if plane:
        grid = plane_grid(seen.grid, spacing_mm=spacing, multiple=multiple)
    else:
        grid = model_grid(
            Pair(seen, seen), Transform(), spacing_mm=spacing, orientation=card.orientation, multiple=multiple
        )
    image = normalized(sampled_on(seen, grid))
    device = next(network.parameters()).device
    fixed, moving, target = (
        _tensor(array, device) for array in (inputs.fixed, inputs.moving, image[0] if plane else image)
    )
    with torch.inference_mode():
        prediction = network.transferred(fixed, moving, target)
        checked(prediction, target)
        u = prediction.displacement[0].float().cpu().numpy()
    field = finished_field(in_space(u), grid, lowest=lowest).field
    transform = Transform((field,)).scaled(unit_mm)
    warped = warp_volume(other, other.grid, transform)
    return (
        Extra(TRANSFERRED, "Deformation transferred", transform, kind="transform"),
        Extra(IMAGE, "Image with the transferred deformation", warped, kind="image"),
    )


def _tensor(array: Image, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(array.copy())[None, None].to(device)
