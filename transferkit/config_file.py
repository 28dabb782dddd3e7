"""Options in a file: a config that a person wrote, or the run.json of a run."""

import re
from pathlib import Path
from typing import Any

from transferkit.zoo import files
from transferkit.zoo.errors import StorageError, UsageError

MAX_BYTES = 1 << 20
POWER = re.compile(r"[-+]?\d+[eE][-+]?\d+$")


def read(path: Path, *, as_given: bool = False) -> dict[str, Any]:
    """The options in a YAML or JSON file; of a run.json, the resolved ones, or those that were given.

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
    return options


def _yaml(path: Path) -> Any:
    """What is in a YAML file; 1e-3 without quotes is a number, as in YAML 1.2, though in 1.1 it would need a point."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", POWER, list("-+0123456789"))
    if not path.is_file():
        raise UsageError(f"no such file: {path}")
    if path.stat().st_size > MAX_BYTES:
        raise UsageError(f"{path} is larger than the {MAX_BYTES >> 20} MB allowed for options")
    try:
        return Loader(path.read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # PyYAML has errors of its own, but for `!!int ""` an IndexError, for depth another
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{path} is not valid YAML: {reason}") from error
