"""Which backbones are ranked: those that are named, or all whose weights are here and, where asked, some of the hub."""

from collections.abc import Sequence
from dataclasses import dataclass

from transferkit import ranks, runtime
from transferkit.config import FinetuneConfig
from transferkit.progress import Progress
from transferkit.zoo.errors import TransferkitError, UsageError

FREE = {"apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause"}
STRONG = {  # docs/design.md says how they were chosen
    "cpu": (
        "mobilenetv4_hybrid_medium.e200_r256_in12k_ft_in1k",
        "edgenext_small.usi_in1k",
        "hgnetv2_b3.ssld_stage2_ft_in1k",
        "convnext_nano.in12k_ft_in1k",
        "vit_small_patch16_dinov3.lvd1689m",
    ),
    "gpu": (
        "convnext_base.clip_laion2b_augreg_ft_in12k_in1k",
        "vit_base_patch16_siglip_256.v2_webli",
        "vit_base_patch16_dinov3.lvd1689m",
        "vit_base_patch14_reg4_dinov2.lvd142m",
        "eva02_base_patch14_448.mim_in22k_ft_in22k_in1k",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What may be ranked.

    Fields: download, whether strong networks are tried that are not here yet, those of `STRONG` for the device of the
    run; commercial, whether only networks are tried whose licence is one of `FREE`.
    """

    download: bool = False
    commercial: bool = False


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The names of backbones to rank; of those that nobody named, one that cannot be had is passed over."""

    names: tuple[str, ...]
    are_named: bool = False


def chosen(names: Sequence[str] | None, choice: Choice, config: FinetuneConfig, progress: Progress) -> Candidates:
    """The candidates, as the first rank finds them; says of each whose licence is not free that it is not.

    Nothing is downloaded but the configuration of a named network of the hub.

    Args: names, None for all whose weights are here, but for the one that knows no photos; `choice` as it says.
    Raises: UsageError if none is left.
    """
    from transferkit.model import build  # torch takes seconds to import

    if names and not choice.commercial:
        return Candidates(names=tuple(dict.fromkeys(names)), are_named=True)
    every = names or [name for name in build.at_hand() if name != "cifar_mlp"]
    if choice.download:
        kind = "cpu" if runtime.pick_device(config.device) == "cpu" else "gpu"
        every = [*every, *STRONG[kind]]
    kept = []
    for name in dict.fromkeys(every):
        try:
            licence = build.card_of(name, offline=config.offline).license
        except TransferkitError as error:
            if names:
                raise
            progress.say(passed_over(name, error))
            continue
        if is_free(licence):
            kept.append(name)
            continue
        is_out = " is left out" if choice.commercial else ""
        progress.say(f"{name}{is_out}: licence {licence}, not free for every commercial use")
        if not choice.commercial:
            kept.append(name)
    if not kept:
        raise UsageError("no backbone is left whose licence is Apache, MIT or BSD; drop --commercial or name others")
    return Candidates(names=tuple(ranks.from_first(kept)), are_named=bool(names))


def passed_over(name: str, error: Exception) -> str:
    """What is said of one that cannot be ranked."""
    return f"{name} is not ranked: {error}"


def is_free(licence: str) -> bool:
    """Whether a licence, or each of those of networks side by side, is free for commercial use, as far as it is known.

    >>> is_free("Apache-2.0, MIT"), is_free("cc-by-nc-4.0"), is_free("unknown")
    (True, False, False)
    """
    return all(part.strip().casefold() in FREE for part in licence.split(","))
