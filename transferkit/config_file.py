"""Options in a file: a config that a person wrote, or the run.json of a run."""

import re
from pathlib import Path
from typing import Any

from transferkit.zoo import files
from transferkit.zoo.errors import StorageError, UsageError

MAX_BYTES = 1 << 20
POWER = re.compile(r"[-+]?\d+[eE][-+]?\d+")


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
    return {name: _number(value) for name, value in options.items()}


def _number(value: Any) -> Any:
    """The number in a text such as 1e-3, which YAML 1.1 takes for one only with a point; else the value itself."""
    return float(value) if isinstance(value, str) and POWER.fullmatch(value) else value


def _yaml(path: Path) -> Any:
    import yaml

    if not path.is_file():
        raise UsageError(f"no such file: {path}")
    if path.stat().st_size > MAX_BYTES:
        raise UsageError(f"{path} is larger than the {MAX_BYTES >> 20} MB allowed for options")
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # PyYAML has errors of its own, but for `!!int ""` an IndexError, for depth another
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{path} is not valid YAML: {reason}") from error
