"""A file of weights in a model folder: the folder's configuration says how images are prepared for them."""

import dataclasses
from pathlib import Path

from transferkit.zoo import hashes
from transferkit.zoo.blueprint import Blueprint
from transferkit.zoo.hashes import CONFIG, MANIFEST, WEIGHTS


def configured(found: Blueprint, file: Path) -> Blueprint:
    """The network `found` as the model folder configures it whose weights the file is; as it is if there is no such.

    A configuration of another network is none for this one: what fits then, and what does not, the weights decide.

    Raises: ModelFileError if the configuration of the network is damaged.
    """
    if not (files := files_of(file)):
        return found
    from transferkit.zoo import from_timm
    from transferkit.zoo.own_folder import OwnFolder

    folder, card = file.parent, found.card()
    config = hashes.read_object(files[0])
    own = hashes.own_block(folder)
    if isinstance(own, dict) and "ensemble" not in own:
        theirs = OwnFolder.read(folder, own)
        is_same = type(theirs.blueprint) is type(found) and theirs.own.architecture == card.architecture
        return dataclasses.replace(theirs, own=dataclasses.replace(theirs.own, name=card.name)) if is_same else found
    if isinstance(found, from_timm.Blueprint) and own is None and config.get("architecture") == found.architecture:
        return from_timm.by_config(config, name=found.name, folder=folder)
    return found


def files_of(file: Path) -> list[Path]:
    """The files beside one of weights that decide what `configured` makes of it."""
    if file.name != WEIGHTS or not (file.parent / CONFIG).is_file():
        return []
    return [path for path in (file.parent / CONFIG, file.parent / MANIFEST) if path.is_file()]
