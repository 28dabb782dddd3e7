"""Options in a file: a config that a person wrote, or the run.json of a run."""

from pathlib import Path
from typing import Any

from transferkit.zoo import files
from transferkit.zoo.errors import UsageError


def read(path: Path, *, as_given: bool = False) -> dict[str, Any]:
    """The options in a YAML or JSON file; of a run.json, the resolved ones, or those that were given.

    Raises: UsageError if it is missing or holds no options.
    """
    path = path.expanduser()
    if path.suffix == ".json":
        values = files.read_json(path)
    else:
        import yaml

        if not path.is_file():
            raise UsageError(f"no such file: {path}")
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError) as error:
            raise UsageError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no options; write lines such as 'epochs: 10'")
    name = "given" if as_given and values.get("given") else "config"
    options = values.get(name, values)
    if not isinstance(options, dict):
        raise UsageError(f"{path}: {name!r} holds no options; write lines such as 'epochs: 10'")
    return options
