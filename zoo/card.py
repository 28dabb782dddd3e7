"""What is known of a network: how its images are prepared, its classes, licence, source, hash and measured accuracy."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from transferkit.zoo.errors import ModelFileError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
CROP_MODES = ("center", "squash", "border")
BIT_DEPTHS = range(8, 17)


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a decoded photo becomes the network's input; saved with the weights and used by every command.

    The photo is resized so that its shorter side is `size / crop_pct`, cropped in the middle to `size` (height,
    width), scaled to 0..1 and normalised by `mean` and `std` per channel. `squash` resizes both sides to that length,
    `border` pads the shorter one. `bit_depth` is that of the values in files of more than 8 bits that do not say it;
    None takes all bits that a file has room for.
    """

    size_px: tuple[int, int] = (224, 224)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    crop_mode: str = "center"
    bit_depth: int | None = None

    def __post_init__(self):
        if self.interpolation not in INTERPOLATIONS:
            raise ModelFileError(f"interpolation {self.interpolation!r} is unknown; known: {', '.join(INTERPOLATIONS)}")
        if self.crop_mode not in CROP_MODES:
            raise ModelFileError(f"crop_mode {self.crop_mode!r} is unknown; known: {', '.join(CROP_MODES)}")
        if not (0 < self.crop_pct <= 1 and min(self.size_px) > 0 and min(self.std) > 0 and len(self.mean) == 3):
            raise ModelFileError(f"preprocessing is out of range: {self}")
        if self.bit_depth is not None and self.bit_depth not in BIT_DEPTHS:
            raise ModelFileError(f"bit_depth {self.bit_depth!r} is out of range; allowed: 8 to 16")

    @classmethod
    def from_pretrained_cfg(cls, cfg: dict[str, Any]) -> "Preprocessing":
        """The preprocessing that timm's `pretrained_cfg` describes; what it leaves out has timm's defaults."""
        pixels: dict[str, Any] = {
            "size_px": tuple(cfg.get("input_size") or (3, 224, 224))[1:],
            "mean": tuple(cfg.get("mean") or cls.mean),
            "std": tuple(cfg.get("std") or cls.std),
        }
        return cls(
            **pixels,
            interpolation=cfg.get("interpolation") or cls.interpolation,
            crop_pct=cfg.get("crop_pct") or cls.crop_pct,
            crop_mode=cfg.get("crop_mode") or cls.crop_mode,
        )

    def to_pretrained_cfg(self) -> dict[str, Any]:
        """The same in the keys of timm's `pretrained_cfg`."""
        values = dataclasses.asdict(self)
        values.pop("bit_depth")  # timm reads what Pillow gives it
        return {"input_size": [3, *values.pop("size_px")]} | values


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """One network's record. `measured` maps a data set to its score; `training` says how the weights came to be."""

    name: str
    architecture: str
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    classes: tuple[str, ...] = ()
    parameters: int = 0
    license: str = "unknown"
    source: str = "unknown"
    sha256: str = ""
    description: str = ""
    measured: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> "ModelCard":
        """The card in a JSON text; unknown keys are ignored, so that an older version reads a newer card."""
        raw = json.loads(text)
        known = {f.name for f in dataclasses.fields(cls)}
        values = {key: value for key, value in raw.items() if key in known}
        values["classes"] = tuple(values.get("classes", ()))
        preprocessing: dict[str, Any] = values.get("preprocessing", {})
        tuples: dict[str, Any] = {key: tuple(value) for key, value in preprocessing.items() if isinstance(value, list)}
        values["preprocessing"] = Preprocessing(**(preprocessing | tuples))
        return cls(**values)

    def to_json(self) -> str:
        """The card as indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"
