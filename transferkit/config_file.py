"""Options in a file: a config that a person wrote, or the run.json of a run."""

import re
from pathlib import Path
from typing import Any

from transferkit.zoo import files
from transferkit.zoo.errors import UsageError
from transferkit.zoo.text import first_line

MAX_BYTES = 1 << 20
POWER = re.compile(r"[-+]?\d+[eE][-+]?\d+$")


def read(path: Path, *, as_given: bool = False) -> tuple[dict[str, Any], bool]:
    """The options in a YAML or JSON file, of a run.json the resolved ones, or those that were given; which of the two.

    Raises: UsageError if it is missing or holds no options.
    """
    path = path.expanduser()
    if path.suffix == ".json":
        values = files.read_json(path)
    else:
        values = _yaml(path)
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no options; write lines such as 'epochs: 10'")
    name = "given" if as_given and values.get("given") else "config"
    options = values.get(name, values)
    if not isinstance(options, dict):
        raise UsageError(f"{path}: {name!r} holds no options; write lines such as 'epochs: 10'")
    return options, options is values.get("config")


def _yaml(path: Path) -> Any:
    """What is in a YAML file; 1e-3 without quotes is a number, as in YAML 1.2, though in 1.1 it would need a point."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", POWER, list("-+0123456789"))
    text = files.read_text(path, most=MAX_BYTES)
    try:
        return Loader(text).get_single_data()
    except Exception as error:  # PyYAML has errors of its own, but for `!!int ""` an IndexError, for depth another
        raise UsageError(f"{path} is not valid YAML: {first_line(error)}") from error
