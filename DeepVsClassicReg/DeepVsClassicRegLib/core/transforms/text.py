"""Transform files that are text."""

from __future__ import annotations

from pathlib import Path

from ..errors import FileError

KNOWN = (
    "Known are ITK and ANTs (.h5, .tfm, .txt, .mat), displacement images (.nii.gz, .nrrd, .mha), elastix, c3d, "
    "NiftyReg, FSL flirt, AFNI, MNI (.xfm) and FreeSurfer (.lta)."
)


def read_text(path: Path) -> str:
    """Return the text of a file; `FileError` when it is none."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise unknown(path)
    return text


def unknown(path: Path) -> FileError:
    """Return the error for a file that is not a transform of any kind known here."""
    return FileError(f"{path.name} is not a transform file that is known here.", hint=KNOWN)
