"""Any timm classifier as a Backbone: by name, from the hub, or from a folder in timm's format."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
from timm.models import PretrainedCfg, get_pretrained_cfg, is_model
from timm.models._manipulate import group_with_matcher
from torch import Tensor, nn

from transferkit.zoo import schema, timm_results
from transferkit.zoo.backbone import Anatomy, Backbone
from transferkit.zoo.card import ModelCard, Preprocessing
from transferkit.zoo.downloads import from_hub
from transferkit.zoo.errors import ModelFileError, UsageError, is_out_of_memory
from transferkit.zoo.files import read_safetensors, sha256
from transferkit.zoo.stages import group_by_children
from transferkit.zoo.text import first_line
from transferkit.zoo.weights import misfit

# The keys of a pretrained_cfg that say where weights are.
SOURCES = ("file", "hf_hub_filename", "hf_hub_id", "source", "state_dict", "url")
# Arguments of create_model that name files or switch off safety: never taken from a model's own configuration.
FORBIDDEN = frozenset(
    [
        "cache_dir",
        "checkpoint_path",
        "exportable",
        "features_only",
        "no_jit",
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "scriptable",
    ]
)
TimmNetwork = Any  # an nn.Module with what timm adds: get_classifier, group_matcher, num_classes, pretrained_cfg
AUXILIARY = "aux_head."  # VOLO's second head, which adds the largest answer over positions: not linear in the features


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """A timm network before it is built.

    `cfg` is timm's pretrained_cfg. Its weights are the file `filename` in `folder`, or else in the hub's repository
    `hub`.
    """

    name: str
    architecture: str
    cfg: dict[str, Any]
    model_args: dict[str, Any] = dataclasses.field(default_factory=dict)
    hub: str = ""
    folder: Path | None = None
    filename: str = "model.safetensors"

    def resized(self, size_px: int) -> "Blueprint":
        """The same for square images of another size; a network of fixed size is built for it."""
        args = {"img_size": size_px} if self.cfg.get("fixed_input_size") or "img_size" in self.model_args else {}
        cfg = self.cfg | {"input_size": (3, size_px, size_px)}
        return dataclasses.replace(self, cfg=cfg, model_args=self.model_args | args)

    def pretrained(self, *, offline: bool) -> Path:
        """The file of its weights. Raises: NetworkError, UsageError or ModelFileError where there is none."""
        if self.folder:
            return self.folder / self.filename
        if not self.hub:
            raise ModelFileError(
                f"timm has no pretrained weights for {self.name}: give a file, or none for random ones"
            )
        return from_hub(self.hub, self.filename, offline=offline)

    def build(self, *, num_classes: int | None = None, weights: Path | None = None) -> Backbone:
        """The network with the weights of a file, or random ones; without `num_classes` it keeps the head it has.

        Weights without a head get a fresh one, of a single class if `num_classes` does not say.

        Raises: ModelFileError if the file does not fit the network.
        """
        if weights is None:
            return self._wrap(self._create(num_classes or self.cfg["num_classes"] or 1))
        tensors = {key: value for key, value in read_safetensors(weights).items() if not key.startswith(AUXILIARY)}
        had = _classes_in(tensors, self.cfg)
        model = self._create(had, tensors=tensors, source=weights)
        if had == 0:
            model.reset_classifier(num_classes or 1)
        backbone = self._wrap(model, sha256=sha256(weights))
        if had == 0 or num_classes not in (None, had):
            backbone.reset_head(num_classes or 1)
        return backbone

    def _create(
        self, num_classes: int, *, tensors: dict[str, Tensor] | None = None, source: Path | None = None
    ) -> TimmNetwork:
        known = {field.name for field in dataclasses.fields(PretrainedCfg)}.difference(SOURCES)
        cfg = {key: value for key, value in self.cfg.items() if key in known}
        if tensors is not None:  # timm renames and resizes tensors as the network needs, but opens no file
            if num_classes != cfg["num_classes"]:
                cfg = cfg | {"num_classes": num_classes, "label_offset": 0}
            cfg["state_dict"] = tensors
        try:
            model: TimmNetwork = timm.create_model(
                self.architecture,
                pretrained=tensors is not None,
                pretrained_cfg=cfg,
                num_classes=num_classes,
                **self._args(),
            )
        except Exception as error:  # the code of a network raises anything for arguments it was not made for
            if is_out_of_memory(error):
                raise
            raise ModelFileError(self._diagnosis(error, num_classes, tensors, source)) from error
        model.pretrained_cfg.pop("state_dict", None)
        return model

    def _args(self) -> dict[str, Any]:
        """`model_args`, with the image size where the network has one, since it may depend on the weights' tag."""
        if refused := FORBIDDEN.intersection(self.model_args):
            raise ModelFileError(f"{self.name} sets the argument {min(refused)!r}, which a model may not choose")
        args: dict[str, Any] = {"use_aux_head": False} if self.architecture.startswith("volo_") else {}
        if self.cfg.get("fixed_input_size"):
            args["img_size"] = tuple(self.cfg["input_size"][-2:])
        return args | self.model_args

    def _diagnosis(self, error: Exception, num_classes: int, tensors: dict | None, source: Path | None) -> str:
        if tensors is None:
            return f"{self.name} cannot be built with model_args {self.model_args}: {first_line(error)}"
        expected = self._create(num_classes).state_dict()
        return f"{source} does not fit {self.architecture}: {misfit(expected, tensors) or first_line(error)}"

    def card(self) -> ModelCard:
        """What is known without building it: all but the number of parameters and the hash of the weights."""
        size = self.model_args.get("img_size")
        cfg: dict[str, Any] = self.cfg | ({"input_size": (3, *_pair(size))} if size else {})
        return ModelCard(
            name=self.name,
            architecture=self.architecture,
            preprocessing=Preprocessing.from_pretrained_cfg(cfg),
            classes=tuple(cfg.get("label_names") or ()),
            license=cfg.get("license") or "unknown",
            source=f"https://huggingface.co/{self.hub}" if self.hub else "unknown",
            description=cfg.get("description") or "",
            measured=timm_results.measured(self.hub),
        )

    def _wrap(self, model: TimmNetwork, *, sha256: str = "") -> Backbone:
        parameters = sum(parameter.numel() for parameter in model.parameters())
        card = dataclasses.replace(self.card(), parameters=parameters, sha256=sha256)
        if len(card.classes) != model.num_classes:
            card = dataclasses.replace(card, classes=())
        spec = {"family": "timm", "architecture": self.architecture, "model_args": self._args()}
        return Backbone(model, dissect(model), card=card, spec=spec)


def wrap(model: TimmNetwork) -> Backbone:
    """A network that timm made, as a Backbone that shares it."""
    cfg = dict(model.pretrained_cfg)
    args = {key: value for key, value in getattr(model, "_model_args", {}).items() if key != "num_classes"}
    name = cfg.get("architecture") or type(model).__name__
    return Blueprint(name=name, architecture=name, cfg=cfg, model_args=args)._wrap(model)


def by_name(name: str) -> Blueprint:
    """The blueprint of a timm name, with or without the tag of its weights.

    Raises: UsageError for a name or a tag that timm does not have.
    """
    architecture = name.partition(".")[0]
    if not is_model(architecture):
        raise UsageError(f"timm has no network named {name!r}")
    try:
        found = get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:  # the tag is unknown
        raise UsageError(f"timm has no weights named {name!r}") from error
    values = found.to_dict() if found else {}
    filename = values.get("hf_hub_filename") or ""
    if not filename.endswith(".safetensors"):
        filename = "open_clip_model.safetensors" if filename.startswith("open_clip") else "model.safetensors"
    return Blueprint(
        name=name, architecture=architecture, cfg=values, hub=values.get("hf_hub_id") or "", filename=filename
    )


def by_config(config: dict[str, Any], *, name: str, hub: str = "", folder: Path | None = None) -> Blueprint:
    """The blueprint in the `config.json` of a model folder, or of a repository on the hub, in timm's format.

    Raises: ModelFileError if it names no network that timm has.
    """
    architecture = config.get("architecture") if isinstance(config, dict) else None
    if not isinstance(architecture, str) or not is_model(architecture):
        raise ModelFileError(f"the config.json of {name} names no timm architecture, but {architecture!r}")
    try:
        whole = schema.read(config, schema.TimmConfig)
        first_format = "pretrained_cfg" not in config  # the file was the cfg itself
        own = schema.read(config, schema.PretrainedCfg) if first_format else whole.pretrained_cfg
    except ModelFileError as error:
        raise ModelFileError(f"the config.json of {name} is refused: {error}") from error
    cfg = {"num_classes": 1000, **schema.given(own)}
    cfg |= {key: value for key, value in schema.given(whole).items() if key in ("num_classes", "label_names")}
    if len(labels := cfg.get("label_names") or ()) not in (0, cfg["num_classes"]):
        raise ModelFileError(f"the config.json of {name} names {len(labels)} of {cfg['num_classes']} classes")
    if cfg.get("input_size", (3,))[0] != 3:
        raise ModelFileError(f"{name} takes images of {cfg['input_size'][0]} channels; allowed: 3, red, green and blue")
    args = whole.model_args or {}
    return Blueprint(name=name, architecture=architecture, cfg=cfg, model_args=args, hub=hub, folder=folder)


def dissect(model: TimmNetwork) -> Anatomy:
    """The final layers and parameter groups of a timm network, by timm's own account of them.

    Raises: UsageError if its classifier is not linear.
    """
    parts = model.get_classifier()
    inside = set()
    for part in parts if isinstance(parts, (tuple, list)) else (parts,):
        inside.update(module for module in part.modules() if _is_final(module, model.num_classes))
    heads = tuple(name for name, module in model.named_modules() if module in inside)
    if not heads:
        raise UsageError(f"the classifier of {type(model).__name__} has no linear layer of {model.num_classes} outputs")
    names = [name for name, _ in model.named_parameters()]
    if not hasattr(model, "group_matcher"):
        return Anatomy(heads=heads, groups=group_by_children(names))
    groups = group_with_matcher(model.named_parameters(), model.group_matcher(coarse=True))
    first, *rest = groups.values()
    grouped = {name for group in groups.values() for name in group}
    return Anatomy(heads=heads, groups=[first + [name for name in names if name not in grouped], *rest])


def _is_final(module: nn.Module, num_classes: int) -> bool:
    if isinstance(module, nn.Linear):
        return module.out_features == num_classes
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.out_channels == num_classes


def _classes_in(tensors: dict[str, Tensor], cfg: dict[str, Any]) -> int:
    """The number of classes of the weights: the rows of the head, less timm's offset for a background class."""
    heads = cfg.get("classifier") or ()
    first = heads if isinstance(heads, str) else next(iter(heads), "")
    weight = tensors.get(f"{first}.weight")
    if weight is None or len(weight) == cfg["num_classes"] + (cfg.get("label_offset") or 0):
        return cfg["num_classes"]
    return len(weight)


def _pair(size: int | tuple[int, int]) -> tuple[int, ...]:
    return (size, size) if isinstance(size, int) else tuple(size)
