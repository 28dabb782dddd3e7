"""The table of exporters, one file each. Nothing heavy is imported before one of them writes."""

from transferkit.ship.exporters import onnx, openvino, safetensors, timm_folder, torch_export
from transferkit.ship.exporters.exporter import Exporter
from transferkit.zoo.errors import UsageError

EXPORTERS = (
    safetensors.EXPORTER,
    timm_folder.EXPORTER,
    onnx.EXPORTER,
    openvino.EXPORTER,
    torch_export.EXPORTER,
)


def names() -> tuple[str, ...]:
    """The names of all exporters."""
    return tuple(exporter.name for exporter in EXPORTERS)


def find(name: str) -> Exporter:
    """The exporter of that name. Raises: UsageError if there is none.

    >>> find("timm").is_folder
    True
    """
    for exporter in EXPORTERS:
        if exporter.name == name:
            return exporter
    raise UsageError(f"no export format {name!r}; known: {', '.join(names())}")
