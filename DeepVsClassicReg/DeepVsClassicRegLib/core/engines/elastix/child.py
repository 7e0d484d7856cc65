"""Replaces the elastix program by the itk-elastix package, with the same arguments and output files.

Run as `python -m DeepVsClassicRegLib.core.engines.elastix.child -f F -m M -out FOLDER -p FILE ...`. The wrapped
classes are imported individually, which takes two seconds; `import itk` with the first use takes ten.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any


def main(arguments: list[str]) -> int:
    """Run one registration; return the exit status."""
    options = _parsed(arguments)
    import itk.elxParameterObjectPython as parameter_module
    import itk.itkElastixRegistrationMethodPython as method_module

    parameters = parameter_module.elastixParameterObject.New()
    for path in options.p:
        parameters.AddParameterFile(path)
    method = method_module.itkElastixRegistrationMethodIF3IF3.New()
    method.SetParameterObject(parameters)
    method.SetFixedImage(_image(options.f, "IF3"))
    method.SetMovingImage(_image(options.m, "IF3"))
    if options.fMask:
        method.SetFixedMask(_image(options.fMask, "IUC3"))
    if options.mMask:
        method.SetMovingMask(_image(options.mMask, "IUC3"))
    if options.t0:
        method.SetInitialTransformParameterFileName(options.t0)
    method.SetNumberOfThreads(options.threads)
    method.SetOutputDirectory(options.out)
    method.LogToConsoleOn()
    method.LogToFileOff()
    try:
        method.Update()
    except RuntimeError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    return 0


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("-f", "-m", "-out"):
        parser.add_argument(name, required=True)
    for name in ("-fMask", "-mMask", "-t0"):
        parser.add_argument(name, default="")
    parser.add_argument("-p", action="append", required=True)
    parser.add_argument("-threads", type=int, default=1)
    return parser.parse_args(arguments)


def _image(path: str, kind: str) -> Any:
    import itk.itkImageFileReaderPython as reader_module
    import itk.itkMetaImageIOPython as meta_module

    reader = getattr(reader_module, f"itkImageFileReader{kind}").New()
    reader.SetImageIO(meta_module.itkMetaImageIO.New())
    reader.SetFileName(path)
    reader.Update()
    return reader.GetOutput()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
