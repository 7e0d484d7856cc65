"""Notes of a reader on a file, some of which mean that an input may be wrong."""

from __future__ import annotations


class Note(str):
    """A sentence about an input for the user.

    It is a string; only the verdict uses `unsound`.

    Parameters
    ----------
    text : str
        One sentence.
    unsound : bool
        The input may be wrong: a gap closed by interpolation, an assumed orientation, voxels that were not measured.
        The verdict on its registration is at best to check.

    Examples
    --------
    >>> Note("The file says no orientation; axes are taken as right, anterior, superior.", unsound=True).unsound
    True
    >>> Note("Read as 3D: a 4D file with one frame.").about("Fixed volume 'a'")
    "Fixed volume 'a': Read as 3D: a 4D file with one frame."
    """

    unsound: bool

    def __new__(cls, text: str, *, unsound: bool = False) -> Note:
        """Make a note."""
        note = super().__new__(cls, text)
        note.unsound = unsound
        return note

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, bool]]:
        """Keep the severity when the note is copied or sent to another process."""
        return (str(self),), {"unsound": self.unsound}

    def about(self, what: str) -> Note:
        """Return the note with its subject as prefix and the same severity."""
        return Note(f"{what}: {self}", unsound=self.unsound)


def is_unsound(note: str) -> bool:
    """Return whether a note means that an input may be wrong; False for a plain string."""
    return isinstance(note, Note) and note.unsound
