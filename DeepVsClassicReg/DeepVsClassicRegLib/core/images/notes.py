"""What a reader has to say about a file: sentences, some of which put the result in doubt."""

from __future__ import annotations


class Note(str):
    """A sentence about an input that the user should know.

    It is an ordinary string wherever strings go; only the verdict uses `unsound`.

    Parameters
    ----------
    text : str
        One sentence.
    unsound : bool
        The input may not be what the patient was: a gap closed by interpolation, an orientation that was guessed,
        voxels that were not measured. A registration of it is never called good without a look.

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
        """Return the note with what it is about in front, as grave as before."""
        return Note(f"{what}: {self}", unsound=self.unsound)


def is_unsound(note: str) -> bool:
    """Return whether a note says that an input may be wrong; a plain string does not."""
    return isinstance(note, Note) and note.unsound
