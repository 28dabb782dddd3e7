"""The numbers that the files of a run may hold: within bounds, so that what is made of them stays within some, too."""

from typing import Annotated

from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]
Finite = Annotated[float, Meta(ge=-1e30, le=1e30)]
Positive = Annotated[float, Meta(ge=0, le=1e30)]
Count = Annotated[int, Meta(ge=0, le=1 << 40)]
Number = Annotated[int, Meta(ge=1, le=1 << 40)]
