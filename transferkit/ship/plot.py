"""Small drawings as SVG inside a page: they follow its colours, also in the dark, and their text stays readable."""

import math
from collections.abc import Sequence

from transferkit.ship.markup import shown

WIDTH, HEIGHT = 360, 270  # as wide as a phone: text keeps its size there
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 10, 42

Points = Sequence[tuple[float, float]]


class Plot:
    """Curves over an x and a y axis.

    Args: x and y, the ends of the axes; x_label and y_label, what they are; is_log, whether x has a logarithmic scale.
    """

    def __init__(
        self, x: tuple[float, float], y: tuple[float, float], *, x_label: str, y_label: str, is_log: bool = False
    ):
        self._x, self._y, self._is_log = x, y, is_log
        self._labels = x_label, y_label
        self._marks: list[str] = []

    def band(self, x: Sequence[float], low: Sequence[float], high: Sequence[float]) -> None:
        """What lies between two curves."""
        ends = [*zip(x, low), *reversed([*zip(x, high)])]
        self._marks.append(f'<path class="band" d="{self._path(ends)}Z"/>')

    def line(self, points: Points, kind: str) -> None:
        """A curve; `kind` is a class of the page's style."""
        self._marks.append(f'<path class="{kind}" d="{self._path(points)}"/>')

    def dots(self, points: Points, kind: str, *, radius: Sequence[float] = ()) -> None:
        """A disc for each point."""
        for number, point in enumerate(points):
            x, y = self._at(point)
            size = radius[number] if radius else 4.5
            self._marks.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="{size:.1f}"/>')

    def svg(self, *, x_ticks: Sequence[float], y_ticks: Sequence[float], title: str, percent_x: bool = False) -> str:
        """The drawing as an <svg> element; `title` says what a reader who does not see it should know."""
        axes = []
        for tick in y_ticks:
            _, y = self._at((self._x[0], tick))
            axes.append(f'<path class="grid" d="M{LEFT},{y}H{WIDTH - RIGHT}"/>')
            axes.append(f'<text x="{LEFT - 6}" y="{y + 4.5}" text-anchor="end">{100 * tick:.4g}</text>')
        for tick in x_ticks:
            x, _ = self._at((tick, self._y[0]))
            text = f"{100 * tick:.4g}" if percent_x else f"{tick:,.0f}"
            axes.append(f'<path class="grid" d="M{x},{HEIGHT - BOTTOM}v5"/>')
            axes.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 19}" text-anchor="middle">{text}</text>')
        x_label, y_label = map(shown, self._labels)
        middle, centre = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
        axes.append(f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{x_label}</text>')
        axes.append(f'<text transform="translate(13 {centre}) rotate(-90)" text-anchor="middle">{y_label}</text>')
        drawn = "".join(axes + self._marks)
        return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{shown(title)}">{drawn}</svg>'

    def _at(self, point: tuple[float, float]) -> tuple[float, float]:
        """Where on the page a point lies."""
        x, start, end = (math.log(each) if self._is_log else each for each in (point[0], *self._x))
        across = (min(max(x, start), end) - start) / ((end - start) or 1)
        up = (min(max(point[1], self._y[0]), self._y[1]) - self._y[0]) / ((self._y[1] - self._y[0]) or 1)
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1),
        )

    def _path(self, points: Points) -> str:
        return "M" + "L".join(f"{x},{y}" for x, y in map(self._at, points))


def doublings(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, each about twice the one before.

    >>> doublings(30, 900)
    [50, 100, 200, 500]
    """
    rounds = [lead * 10**power for power in range(13) for lead in (1, 2, 5)]
    return [each for each in rounds if low <= each <= high]


def shares(low: float, high: float) -> tuple[tuple[float, float], list[float]]:
    """The ends of an axis that holds shares from `low` to `high`, and its ticks in round per cents.

    >>> shares(0.83, 0.96)
    ((0.8, 1.0), [0.8, 0.85, 0.9, 0.95, 1.0])
    """
    step = next((each for each in (1, 2, 5, 10) if 100 * (high - low) <= 4 * each), 20)
    start = math.floor(100 * low / step) * step
    end = min(max(math.ceil(100 * high / step) * step, start + step), 100)
    ticks = [tick / 100 for tick in range(start, end + 1, step)]
    return (start / 100, max(end / 100, ticks[-1])), ticks
