"""Whether an answer may be believed: how often such answers are wrong, and whether the image is like any known."""

from dataclasses import dataclass

from transferkit.trust.familiarity import Familiarity
from transferkit.trust.sureness import Sureness

__all__ = ["NOTHING_KNOWN", "Familiarity", "Sureness", "Trust"]


@dataclass(frozen=True, kw_only=True)
class Trust:
    """What is known of the answers of a classifier; None of what is not."""

    sureness: Sureness | None = None
    familiarity: Familiarity | None = None


NOTHING_KNOWN = Trust()
