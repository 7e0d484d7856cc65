"""Transform parameter files of elastix and their chains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from DeepVsClassicRegLib.core.errors import FileError
from transform_samples import (
    POINT,
    SHEARED,
    X,
    Y,
    Z,
    about,
    gives,
    mapped,
    spline,
    text,
    versor,
)

from . import Call, Case, Refused


def elastix(kind: str, parameters: Sequence[float], initial: str = "NoInitialTransform", **more: str) -> str:
    """Return a TransformParameters file."""
    lines = {
        "Transform": f'"{kind}"',
        "NumberOfParameters": str(len(parameters)),
        "TransformParameters": " ".join(repr(float(v)) for v in parameters),
        "InitialTransformParameterFileName": f'"{initial}"',
        "HowToCombineTransforms": '"Compose"',
        "FixedImageDimension": "3",
        "MovingImageDimension": "3",
        "Direction": "1 0 0 0 1 0 0 0 1",
        "UseDirectionCosines": '"true"',
        **more,
    }
    return "\n".join(f"({name} {value})" for name, value in lines.items()) + "\n"


EULER = elastix("EulerTransform", [0.1, 0.2, 0.3, 1, 2, 3], CenterOfRotationPoint="5 6 7", ComputeZYX='"false"')
TURN = about(Z @ X @ Y, (1, 2, 3), (5, 6, 7))


def elastix_spline(initial: str = "NoInitialTransform", **more: str) -> str:
    """Return the B-spline above as elastix writes it, parameters axis after axis."""
    source = spline()  # its images are views of its parameters
    images = source.GetCoefficientImages()
    numbers = np.concatenate([sitk.GetArrayFromImage(image).ravel() for image in images])
    first = images[0]
    grid = {
        "GridSize": first.GetSize(),
        "GridSpacing": first.GetSpacing(),
        "GridOrigin": first.GetOrigin(),
        "GridIndex": (0, 0, 0),
        "GridDirection": first.GetDirection(),
    }
    return elastix(
        "BSplineTransform",
        numbers,
        initial,
        BSplineTransformSplineOrder="3",
        UseCyclicTransform='"false"',
        **{name: " ".join(str(v) for v in values) for name, values in grid.items()},
        **more,
    )


def chain(
    *files: tuple[str, str], first: str = "TransformParameters.1.txt", folder_of_others: str = "."
) -> Callable[[Path], Call]:
    """Return a build function that writes several files and reads one."""

    def build(folder: Path) -> Call:
        for name, content in files:
            target = folder / name
            target.parent.mkdir(exist_ok=True, parents=True)
            target.write_text(content)
        return mapped(folder / first)

    return build


def _binary_parameters(folder: Path) -> Call:
    content = elastix(
        "EulerTransform", [0, 0, 0], CenterOfRotationPoint="5 6 7", UseBinaryFormatForTransformationParameters='"true"'
    )
    content = content.replace("(NumberOfParameters 3)", "(NumberOfParameters 6)").replace("0.0 0.0 0.0", '"t.txt.dat"')
    (folder / "t.txt").write_text(content)
    np.array([0.1, 0.2, 0.3, 1, 2, 3], "<f8").tofile(folder / "t.txt.dat")
    return mapped(folder / "t.txt")


T0, T1 = "TransformParameters.0.txt", "TransformParameters.1.txt"
ADD = {"HowToCombineTransforms": '"Add"'}
AFFINE = [*SHEARED.ravel(), 10, -5, 2]
ELASTIX_CASES = [
    Case("D", "elastix Euler", text(T0, EULER), gives(TURN)),
    Case(
        "D",
        "elastix Euler, ZYX",
        text(T0, EULER.replace('ComputeZYX "false"', 'ComputeZYX "true"')),
        gives(about(Z @ Y @ X, (1, 2, 3), (5, 6, 7))),
    ),
    Case(
        "D",
        "elastix affine with a center",
        text(T0, elastix("AffineTransform", AFFINE, CenterOfRotationPoint="3 4 5")),
        gives(about(SHEARED, (10, -5, 2), (3, 4, 5))),
    ),
    Case(
        "D",
        "elastix similarity",
        text(T0, elastix("SimilarityTransform", [0.1, 0, 0, 1, 2, 3, 1.1], CenterOfRotationPoint="5 6 7")),
        gives(about(1.1 * versor(0.1, 0, 0), (1, 2, 3), (5, 6, 7))),
    ),
    Case("D", "elastix translation", text(T0, elastix("TranslationTransform", [1, 2, 3])), gives((11, 22, 33))),
    Case("D", "elastix B-spline", text(T0, elastix_spline()), gives(spline().TransformPoint(POINT))),
    Case(
        "D",
        "elastix rigid, then B-spline",
        chain((T0, EULER), (T1, elastix_spline(T0))),
        gives(spline().TransformPoint(TURN.tolist())),
    ),
    Case(
        "D",
        "elastix chain with the old name of the entry",
        chain(
            (T0, EULER), (T1, elastix_spline(T0).replace("TransformParameterFileName", "TransformParametersFileName"))
        ),
        gives(spline().TransformPoint(TURN.tolist())),
    ),
    Case(
        "D",
        "elastix chain that was moved",
        chain((T0, EULER), (T1, elastix_spline("/home/anna/out/" + T0))),
        gives(spline().TransformPoint(TURN.tolist()), notes=["was not found", "beside"]),
    ),
    Case(
        "D",
        "elastix chain moved from Windows",
        chain((T0, EULER), (T1, elastix_spline("C:\\out\\" + T0))),
        gives(spline().TransformPoint(TURN.tolist()), notes=["beside"]),
    ),
    Case("D", "elastix chain with a missing file", chain((T1, elastix_spline(T0))), Refused(FileError, "missing", T0)),
    Case(
        "D",
        "elastix that starts from itself",
        chain((T1, elastix_spline(T1))),
        Refused(FileError, "starts from itself"),
    ),
    Case(
        "D",
        "elastix chain in a circle",
        chain((T0, elastix("TranslationTransform", [1, 2, 3], T1)), (T1, elastix_spline(T0))),
        Refused(FileError, "starts from itself"),
    ),
    Case(
        "D",
        "elastix Add of two linear ones",
        chain((T0, EULER), (T1, elastix("AffineTransform", AFFINE, T0, **ADD))),
        gives(TURN + about(SHEARED, (10, -5, 2)) - POINT),
    ),
    Case(
        "D",
        "elastix Add of a B-spline",
        chain((T0, EULER), (T1, elastix_spline(T0, **ADD))),
        Refused(FileError, "added", "transformix"),
    ),
    Case("D", "elastix parameters in a binary file", _binary_parameters, gives(TURN)),
    Case(
        "D",
        "elastix B-spline of order 2",
        text(T0, elastix_spline().replace("SplineOrder 3", "SplineOrder 2")),
        Refused(FileError, "order 2", "transformix"),
    ),
    Case(
        "D",
        "elastix cyclic B-spline",
        text(T0, elastix_spline().replace("Cyclic" + 'Transform "false"', 'CyclicTransform "true"')),
        Refused(FileError, "cyclic"),
    ),
    Case(
        "D",
        "elastix thin-plate spline",
        text(T0, elastix("SplineKernelTransform", [1, 2, 3])),
        Refused(FileError, "SplineKernelTransform", "transformix"),
    ),
    Case(
        "D",
        "elastix weighted combination",
        text(T0, elastix("WeightedCombinationTransform", [1, 2, 3])),
        Refused(FileError, "WeightedCombinationTransform"),
    ),
    Case(
        "D",
        "elastix 2D",
        text(T0, elastix("EulerTransform", [0.1, 1, 2], FixedImageDimension="2")),
        Refused(FileError, "2D"),
    ),
    Case(
        "D",
        "elastix without direction cosines",
        text(
            T0,
            EULER.replace('Cosines "true"', 'Cosines "false"').replace(
                "(Direction 1 0 0 0 1 0 0 0 1)", "(Direction 0 1 0 1 0 0 0 0 1)"
            ),
        ),
        Refused(FileError, "UseDirectionCosines"),
    ),
    Case(
        "D",
        "elastix with too few parameters",
        text(T0, EULER.replace(" 3.0)", ")")),
        Refused(FileError, "6 parameters"),
    ),
    Case("D", "elastix file cut in the parameters", text(T0, elastix_spline()[:400]), Refused(FileError, T0)),
    Case(
        "D",
        "an elastix parameter file of a registration",
        text(
            "Parameters.txt",
            '(Registration "MultiResolutionRegistration")\n(Metric "AdvancedMattesMutualInformation")\n',
        ),
        Refused(FileError, "no line (Transform"),
    ),
    Case(
        "D",
        "elastix TOML",
        text("TransformParameters.0.toml", 'Transform = "EulerTransform"\nNumberOfParameters = 6\n'),
        Refused(FileError, "TOML"),
    ),
]

CASES = [*ELASTIX_CASES]
