"""The command line: one click command a file."""

import sys
from pathlib import Path

from transferkit.zoo import stops

if Path((sys.argv or [""])[0]).stem == "transferkit":  # the installed command, not somebody who imports this
    stops.take()  # before click and torch are imported: that takes a second, or many
