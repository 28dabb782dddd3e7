"""Networks in folders: of a run, of a model that transferkit wrote, or in timm's format."""

from pathlib import Path

from transferkit.zoo import hashes
from transferkit.zoo.blueprint import Blueprint
from transferkit.zoo.errors import UsageError
from transferkit.zoo.hashes import CONFIG, MANIFEST
from transferkit.zoo.sources.source import Source


class ModelFolder(Source):
    """A path that is there. Its networks are built again by the source that they came from."""

    help = "the path of a model folder"
    is_foreign = True
    takes_paths = True

    def find(self, name: str) -> str | None:
        """The path, if something is there."""
        return name if Path(name).exists() else None

    def open(self, name: str, *, offline: bool) -> Blueprint:
        """The network of a model folder, or of a run folder that has one. Raises: UsageError, ModelFileError."""
        from transferkit.zoo.own_folder import OwnFolder, model_folder

        path = Path(name)
        folder = model_folder(path)
        if not (folder / CONFIG).is_file():
            raise UsageError(f"{path} is no model folder: it has no {CONFIG}")
        if (own := hashes.own_block(folder)) is not None:
            return OwnFolder.read(folder, own)
        config = hashes.read_object(folder / CONFIG)
        from transferkit.zoo import from_timm

        return from_timm.by_config(config, name=folder.resolve().name, folder=folder)

    def files(self, name: str) -> list[Path]:
        """Its configuration and its manifest."""
        from transferkit.zoo.own_folder import model_folder

        folder = model_folder(Path(name))
        return [folder / file for file in (CONFIG, MANIFEST) if (folder / file).is_file()]
