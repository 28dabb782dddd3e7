"""Text of unknown origin, such as a class or file name, as it is shown: one line that no terminal obeys."""

KEPT = " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{IDEOGRAPHIC SPACE}\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"


def printable(text: object) -> str:
    r"""`text` with everything that is no visible character, such as an escape or a new line, written as an escape.

    A byte of a file name that is no text becomes \xff, so that the result can be encoded as UTF-8. What is printable
    stays as it is; so a second call changes nothing.

    >>> print(printable("photo\x1b[2J\nof a caf\xe9"))
    photo\x1b[2J\nof a café
    """
    text = str(text)
    return text if text.isprintable() else "".join(map(_shown, text))


def first_line(error: BaseException) -> str:
    """The first line of what an error says, as `printable`; the name of its kind where it says nothing."""
    return printable((str(error).strip().splitlines() or [type(error).__name__])[0])


def _shown(character: str) -> str:
    if character.isprintable() or character in KEPT:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, by PEP 383
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
