"""What a user says of DATA that its names alone do not tell."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Hints:
    """How groups and labels are found; None where names decide.

    Fields: group_by, a column of a table, or a pattern of `grouping`; label_column, that of a table; label_from, a
    pattern that finds the class in a path.
    """

    group_by: str | None = None
    label_column: str | None = None
    label_from: str | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        """What says the same on a command line.

        >>> Hints(label_column="breed").arguments
        ('--label-column', 'breed')
        """
        given = [(f"--{name.replace('_', '-')}", value) for name, value in vars(self).items() if value is not None]
        return tuple(word for pair in given for word in pair)


NONE = Hints()
