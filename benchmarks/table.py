"""Every script of this folder, in the order in which they run."""

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Script:
    """A script and how `python -m benchmarks` runs it.

    `minutes` is about what it takes on 2 cores; `takes_common` ones have the options of harness/claim.py; `options` are
    those beside them that are passed on; `by_hand` is the command of one that needs data of its own and is not run.
    """

    name: str
    minutes: float
    takes_common: bool = True
    options: tuple[str, ...] = ()
    is_slow: bool = False
    by_hand: str = ""

    @property
    def path(self) -> Path:
        """The script's file."""
        return FOLDER / f"{self.name}.py"


SCRIPTS = (
    Script(name="startup", minutes=1),
    Script(name="probe", minutes=2.5),
    Script(name="frozen", minutes=12),
    Script(name="full", minutes=16),
    Script(name="full_timm", minutes=4),
    Script(name="full_fastai", minutes=5, options=("fastai_python",)),
    Script(name="limit", minutes=7),
    Script(name="processes", minutes=10),
    Script(name="busy", minutes=12, is_slow=True),
    Script(name="store", minutes=5),
    Script(name="listing", minutes=0.5),
    Script(name="images", minutes=1.5),
    Script(name="sizes", minutes=1),
    Script(name="probe_scale", minutes=2, takes_common=False),
    Script(name="calls", minutes=2),
    Script(name="loader", minutes=6),
    Script(name="deterministic", minutes=6),
    Script(name="multi_label", minutes=8),
    Script(name="labels", minutes=3),
    Script(name="compare", minutes=1),
    Script(name="serve", minutes=2),
    Script(name="views", minutes=6, is_slow=True),
    Script(name="memory", minutes=15, is_slow=True),
    Script(name="folders", minutes=60, by_hand="python benchmarks/folders.py FOLDER..."),
    Script(name="trust", minutes=60, by_hand="python benchmarks/trust.py FOLDER..."),
    Script(name="forecast", minutes=30, by_hand="python benchmarks/forecast.py FOLDER..."),
    Script(name="audit", minutes=15, by_hand="python -m benchmarks.audit FOLDER..."),
    Script(name="near_copies", minutes=10, by_hand="python -m benchmarks.near_copies FOLDER..."),
    Script(name="learning_curve", minutes=5, by_hand="python benchmarks/learning_curve.py FOLDER..."),
    Script(name="engines", minutes=60, by_hand="python benchmarks/engines.py FOLDER..."),
    Script(name="exports", minutes=40, by_hand="python benchmarks/exports.py FOLDER..."),
    Script(name="int8", minutes=10, by_hand="python benchmarks/int8.py RUN..."),
    Script(name="report_pictures", minutes=1, by_hand="python benchmarks/report_pictures.py RUN"),
    Script(name="ranking", minutes=20, by_hand="python benchmarks/ranking.py FOLDER..."),
    Script(name="peers_table", minutes=120, by_hand="python -m benchmarks.peers_table FOLDER... --weights DIR"),
    Script(name="transfer", minutes=150, by_hand="python benchmarks/transfer.py FOLDER... --backbones NAME,NAME"),
    Script(name="lecture", minutes=300, by_hand="python benchmarks/lecture.py --cifar PATH --photos FOLDER"),
)
