"""Lets a checkout be used in place: `transferkit.zoo` and `transferkit.cli` lie beside the package, not inside it.

An installed wheel has both inside and never needs this file. A checkout keeps them at the top level, so there a
finder answers for exactly those two names. Appending the root to `transferkit.__path__` is no way out:
`pkgutil.walk_packages` would then find `transferkit.transferkit.transferkit...` for ever.
"""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"transferkit.zoo": ROOT / "zoo", "transferkit.cli": ROOT / "cli"}


class CheckoutFinder:
    """Finds the two rooms that a checkout keeps beside the package."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        folder = ROOMS.get(name)
        if folder is None:
            return None
        return importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )


def install() -> None:
    """Put the finder first in `sys.meta_path`, once, if this package stands in a checkout."""
    if (ROOT / "setup.cfg").exists() and CheckoutFinder not in sys.meta_path:
        sys.meta_path.insert(0, CheckoutFinder)
