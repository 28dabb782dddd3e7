"""Cards of networks as a table, for a terminal and for a notebook."""

import html
from collections.abc import Sequence

from transferkit.zoo.card import ModelCard
from transferkit.zoo.text import printable

HEADER = ("network", "parameters", "images", "licence", "weights")
CELL = 'style="text-align:left;padding:2px 12px 2px 0;border:0;background:none"'


class CardList(list[ModelCard]):
    """A list of cards that a notebook shows as a table.

    Args: lacks, what is missing to use each network, "" where nothing is.
    """

    def __init__(self, cards: Sequence[ModelCard], lacks: Sequence[str]):
        super().__init__(cards)
        self._lacks = {card.name: words for card, words in zip(cards, lacks)}

    def rows(self) -> list[tuple[str, ...]]:
        """The cells below `HEADER`, of each card that is in the list now."""
        return [
            (
                card.name,
                f"{card.parameters:,}",
                f"{card.preprocessing.size_px[0]} px",
                card.license,
                self._lacks.get(card.name) or "here",
            )
            for card in self
        ]

    def _repr_html_(self) -> str:
        """The table, in a notebook."""
        head, *body = (
            "".join(f"<{tag} {CELL}>{html.escape(printable(cell))}</{tag}>" for cell in row)
            for tag, rows in (("th", [HEADER]), ("td", self.rows()))
            for row in rows
        )
        lines = "".join(f"<tr>{cells}</tr>" for cells in (head, *body))
        return f'<table style="border-collapse:collapse;color:inherit">{lines}</table>'
