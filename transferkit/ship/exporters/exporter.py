"""What a line of the table of exporters says."""

from collections.abc import Callable
from dataclasses import dataclass

ONE_BY_ONE = "export its members one by one: MODEL/members/0 and so on"  # what to do of an ensemble


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """A way to write a classifier for other programs.

    Args: help, what is written. write, called as `write(model, out, pixels=pixels)` with an `Artifact`, where
    `takes_ensembles` also an `Ensemble`, the path to write and real images, uint8 (N, 3, H, W): it writes all or
    raises, and imports heavy libraries only then. is_folder, whether it writes a folder, which is never replaced.
    is_compared, whether what is written gave PyTorch's answers on the images.
    """

    name: str
    help: str
    write: Callable[..., None]
    is_folder: bool = False
    is_compared: bool = False
    takes_ensembles: bool = False
