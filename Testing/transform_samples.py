"""What the cases of transform files share: one point, ways to write a file, and files that Slicer wrote.

Every expected point is made by hand, by SimpleITK's own classes or by nibabel, never by the reader.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from DeepVsClassicRegLib.core.transforms.files import read_transform
from faults import Call, Gives
from scipy.spatial.transform import Rotation

POINT = (10.0, 20.0, 30.0)
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
HEAD = "#Insight Transform File V1.0\n"
SHEAR = "1 0.1 0 0 1 0 0 0 1.2 10 -5 2"
SHEARED = np.array([[1, 0.1, 0], [0, 1, 0], [0, 0, 1.2]])
X, Y, Z = (Rotation.from_euler(axis, angle).as_matrix() for axis, angle in zip("xyz", (0.1, 0.2, 0.3), strict=True))


@dataclass(frozen=True)
class Mapped:
    """Where a transform brings the point, and what its reader says."""

    point: np.ndarray
    notes: tuple[str, ...]


def mapped(path: Path, **options: Any) -> Callable[[], Mapped]:
    """Return a call that reads the transform and maps the point."""

    def call() -> Mapped:
        transform = read_transform(path, **options)
        return Mapped(transform.apply([POINT])[0], transform.notes)

    return call


def gives(truth: Sequence[float], *, tolerance: float = 1e-4, notes: Sequence[str] = ()) -> Gives:
    """Expect this point."""
    return Gives(np.asarray(truth), tolerance, lambda run: run.value.point, notes)


def text(name: str, content: str, **options: Any) -> Callable[[Path], Call]:
    """Return a build function that writes a text file."""

    def build(folder: Path) -> Call:
        (folder / name).write_text(content, encoding="utf-8")
        return mapped(folder / name, **options)

    return build


def binary(name: str, content: bytes) -> Callable[[Path], Call]:
    """Return a build function that writes bytes."""

    def build(folder: Path) -> Call:
        (folder / name).write_bytes(content)
        return mapped(folder / name)

    return build


def written(name: str, make: Callable[[], sitk.Transform]) -> Callable[[Path], Call]:
    """Return a build function that lets SimpleITK write a transform."""

    def build(folder: Path) -> Call:
        sitk.WriteTransform(make(), str(folder / name))
        return mapped(folder / name)

    return build


def itk(*items: tuple[str, str, str], composite: bool = False) -> str:
    """Return an ITK text file of (kind, parameters, fixed parameters)."""
    listed = [("CompositeTransform_double_3_3", None, None)] if composite else []
    lines = [HEAD]
    for number, (kind, parameters, fixed) in enumerate([*listed, *items]):
        lines.append(f"#Transform {number}\nTransform: {kind}\n")
        if parameters is not None:
            lines.append(f"Parameters: {parameters}\nFixedParameters: {fixed}\n")
    return "".join(lines)


def about(matrix: Any, translation: Sequence[float], center: Sequence[float] = (0, 0, 0)) -> np.ndarray:
    """Return matrix (point - center) + center + translation, by hand."""
    middle = np.asarray(center, dtype=float)
    return np.asarray(matrix) @ (np.array(POINT) - middle) + middle + np.asarray(translation)


def versor(x: float, y: float, z: float) -> np.ndarray:
    """Return the rotation of a unit quaternion given by its vector part."""
    return Rotation.from_quat([x, y, z, np.sqrt(1 - x * x - y * y - z * z)]).as_matrix()


def sheared() -> sitk.AffineTransform:
    """Return an affine transform with a center."""
    return sitk.AffineTransform(SHEARED.ravel().tolist(), (10, -5, 2), (3, 4, 5))


def field_image(vector: Sequence[float] = (3, 4, 5), kind: int = sitk.sitkVectorFloat64) -> sitk.Image:
    """Return a constant field around the point."""
    values = np.tile(np.asarray(vector, dtype=np.float64), (6, 6, 6, 1))
    image = sitk.Cast(sitk.GetImageFromArray(values, isVector=True), kind)
    image.SetSpacing((20, 20, 20))
    image.SetOrigin((-40, -40, -40))
    return image


def composite() -> sitk.CompositeTransform:
    """Return a shear applied after a field (ITK applies the last one first)."""
    return sitk.CompositeTransform([sheared(), sitk.DisplacementFieldTransform(field_image())])


def spline() -> sitk.BSplineTransform:
    """Return a B-spline with coefficients that differ from node to node."""
    transform = sitk.BSplineTransformInitializer(sitk.Image([10, 10, 10], sitk.sitkUInt8), [2, 3, 4], 3)
    transform.SetTransformDomainOrigin((-40, -40, -40))
    transform.SetTransformDomainPhysicalDimensions((120, 120, 120))
    transform.SetParameters(np.random.default_rng(1).normal(0, 4, len(transform.GetParameters())).tolist())
    return transform


def unpacked(text: str) -> bytes:
    """Return the bytes of a file below."""
    return zlib.decompress(base64.b85decode(text))


# Written by Slicer 5.12 (vtkMRMLTransformStorageNode), packed: zlib, base 85.
# A grid of 2 x 2 x 2 nodes, 100 mm apart, that moves by RAS (10, 5, 1) mm; a thin-plate spline of five landmarks.
GRID_FROM_PARENT_H5 = (
    "c-rgqaB<`1lHy|G;9!7(|4^_%5yCfsinmmUp78f@31U*n(B#fW#uZFL$QogQi;01efq_kw0Z4IqhIogi78Pga=N*Qc2bBQ204i~x"
    "5h5WVz`*c~6~eY+K!_Pb#T4L9mHM{e64*(K=uTo_WE5dwU}6LUs9G4!EW*Gj3FHVcKrlp{gMk(3T4p8=pih_?8K9vd0JCTV!;k~d"
    "c}_f|Mc4>P4E?a#X*=N>Ey6}&7=%s#(PtjC2pfZ85H^oO_AvN6dw8>nfc(hm9}F$I#91KnCQDKp$tfavK*li|D6m28@t~fQjf*lj"
    "ft@S}vV+Y(*e@|R^*0l=2$lp1@`V&7<`t*q7v;Ja<(C!&LyOsOfpvGu@r(q>OkTK|A(aKGo1q?KQwGUNz~$UBD^gPe5{rONDglOM"
    "fCQqjKhF+fYcU|DwJXmP@6sY|It+ufc_6pi3mnmMAU_Jj!x#~~Ig${S#j5F3pqfBYEx>^YFn4EvA4a5*U_?>}0;YN<dZs`cntm8$"
    "U<ua6%~T;LGpQ)Cs8XQ}k}0ed4D}3+^bEm~fM$+QW?pFpkcQ?P27V}Qre|oOXJVq8maJQ5W@-*suL`AIGK&jx5|dMNQ}asPGE;L>"
    ";NFZ+$uCXHNsTv-H%1B+3x0-CFbYP&C>RB!U=)mkQ7{Td!6+C7qhJ)E0U4z604B8Y0cL1F9mZ#Y_RC>>kXk~6GeS^%U^HlOMo_^X"
    "I^OQUV8YE{@*ijscyNXbGB^{U08u*u=Exy9I1^>_=`*3QfsR2jNRSXV51?UlU<ilJ`2%tCqd9LBjDk@x3Wf!6z)pLj)6i-w(g8dD"
    "VLyIr2+G?-XceeEA_s<=H~=I28$|"
)

GRID_TO_PARENT_H5 = (
    "c-rgqaB<`1lHy|G;9!7(|4^_%5yCfsinmmUp78f@31U*n(B#fW#uZFL$QogQi;01efq_kw0Z4IqhIogi78Pga=N*Qc2bBQ204i~x"
    "5h5WVz`*c~6~eY+K!_Pb#T4L9mHM{e64*(K=uTo_WE5dwU}6LUs9G4!EW*Gj3FHVcKrlp{gMk(3T4p8=pih_?8K9vd0JCTV!;k~d"
    "c}_f|Mc4>P4E?a#X*=N>Ey6}&7=%s#(PtjC2pfZ85H^oO_AvN6dw8>nfc(hm9}F$I#91KnCQDKp$tfavK*li|D6m28@t~fQjf*lj"
    "ft@S}vV+Y(*e@|R^*0l=2$lp1@`V&7<`t*q7v;Ja<(C!&LyOsOfpvGu@r(q>OkTK|A(aKGo1q?KQwGUNz~$UBD^gPe5{rONDglOM"
    "fCQqjKhF+fYcU|DwJXmP@6sY|It+ufc_6pi3mnmMAU_Jj!x#~~Ig${S#j5F3pqfBYEx>^YFn4EvA4a5*U_?>}0;YN<dZs`cntm8$"
    "U<ua6%~T;LGpQ)Cs8XQ}k}0ed4D}3+^bEm~fM$+QW?pFpkcQ?P27V}Qre|oOXJVq8maJQ5W@-*suLGq$^FW5Dx?~m?<Rm7i=BDPA"
    "xMim1q`-X}pORmil#?279B+&qI0pO-qhJ(_f>AIEM!_f;1*2dTjDk@x3P!;wK<dxK#siqp#s`?8{d5?g1==r%@j+?{4bBKb?Savt"
    "!5KjXd+2z(1A_@SgUNrOMc~01F38|afC5DA1eha-;NVP@&8N?V!Uj49#UMdK*gSxS&4D2tHs=q-$&co|Q7{Td!6+COzyUk$iB3bS"
    "tw;y#^oRZUtsy9H5200{_J|x9YT^Jer5+~"
)

THIN_PLATE_SPLINE_H5 = (
    "c-rgqaB<`1lHy|G;9!7(|4`td2;mz*#eHVqarXCc31U*n(B#fW#uZFL$QogQi;01efq_kw0Z4IqhIogi78Pga=N*Qc2bBQ204i~x"
    "5h5WVz`*c~6~eY+K!_Pb#T4L9mHM{e64*(K=uTo_WE5dwU}6LUs9G4!EW*Gj3FHVcKrlp{gMk(3T4p8=pih_?8K9vd0JCTV!;k~d"
    "c}_f|Mc4>P4E?a#X*=N>Ey6}&7=%s#(PtjC2pfZ85H^oO_AvN6dw8>nfc(hm9}F$I#91KnCQDKp$tfavK*li|D6m28@t~fQjf*lj"
    "ft@S}vV+Y(*e@|R^*0l=2$lp1@`V&7<`t*q7v;Ja<(C!&LyOsOfpvGu@r(q>OkTK|A(aKGo1q?KQwGUNz~$UBD^gPe5{rONDglOM"
    "fCQqjKhF+fYcU|DwJXmP@6sY|It+ufc_6pi3mnmMAU_Jj!x#~~Ig${S#j5F3pqfBYEx>^YFn4EvA4a5*U_?>}0;YN<dZs`cntm8$"
    "U<ua6%~T;LGpQ)Cs8XQ}k}0ed4D}3+^bEm~fM$+QW?pFpkcQ?P27V}Qre|oOXJVq8maJQ5W@-*suL-3?GBWc5auQ2Yg9~yp^HRN2"
    "i}F%);9iYS$uCXHNsTv-H%1E_1Ac~4FbYP&C>RB!U=)mkQ7{Td!6+C7qhJ&u_2*&Z0ZeG)1I*BVI*iW(?U%#&Ahm=BXZX?j`=G%Y"
    "K?Qs0c)J6G2{(huf1pL+!5J>d;7ou5L~RAkkwb8B=Gp9|4qAlGiD3{n8|vy<MswaM7zLwX6buW{fJQ@ko(E9HKkSF{q2h3PD9wSY"
    "zQNrA!u3W|4->~>F9W*0=<bBe<8Z&H1FAYW?EnB-8xLU"
)
