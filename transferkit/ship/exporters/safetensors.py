"""The weights alone, as one file."""

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit.ship.exporters.exporter import COMPARED, Agreement, Exporter, Wanted

if TYPE_CHECKING:
    from transferkit.ship.models import Artifact


def write(model: "Artifact", out: Path, *, wanted: Wanted) -> Agreement:
    """Write the weights, with all that they mean in the file's metadata.

    Raises: UsageError, ParityError, StorageError.
    """
    from safetensors.torch import load, save

    from transferkit.ship import description
    from transferkit.ship.exporters import parity
    from transferkit.zoo.files import write_safetensors

    own = description.describe(model)["transferkit"]
    own.pop("familiarity", None)  # its features are in a file of their own
    state = model.backbone.model.state_dict()
    again = copy.deepcopy(model.backbone)
    again.model.load_state_dict(load(save({name: tensor.contiguous() for name, tensor in state.items()})))
    agreement = parity.of_network(model, again, wanted.sample, format=EXPORTER.name)
    own[COMPARED] = agreement.as_json()
    write_safetensors(out, state, {"format": "pt", "transferkit": json.dumps(own)})
    return agreement


EXPORTER = Exporter(name="safetensors", help="the weights, and what they mean as metadata", write=write)
