"""What long work tells about itself: phases with a count, figures on the way, and lines."""

from collections.abc import Sequence

from transferkit.zoo import stops


class Progress:
    """Receives news of a run and shows nothing; those in `live` and of the command line draw."""

    def start(self, phase: str, total: int) -> None:
        """A phase of `total` images begins."""

    def advance(self, images: int) -> None:
        """So many more images of the phase are done. Raises: StoppedError, if a signal has asked for the end."""
        stops.check()

    def note(self, figures: str) -> None:
        """How the phase stands, such as an epoch's losses."""

    def finish(self) -> None:
        """The phase is over."""

    def say(self, line: str) -> None:
        """A line worth reading, whatever phase runs."""

    def leave_out(self, lines: Sequence[str]) -> None:
        """Lines on what of the data is not used."""
        for line in lines:
            self.say(line)
