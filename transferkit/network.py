"""The network that a run starts from, with the head it came with."""

from collections.abc import Callable
from functools import partial

import torch

from transferkit import caches, ranks, seeds
from transferkit.config import FinetuneConfig
from transferkit.model import build
from transferkit.model.build import Backbone
from transferkit.model.network_cache import NetworkCache
from transferkit.progress import Progress
from transferkit.zoo.errors import NetworkError


def opened(config: FinetuneConfig, *, device: str, progress: Progress) -> Backbone:
    """The network on `device`, with the head it came with.

    For a head alone it is a lazy one, if an earlier run kept it: should all features be kept too, nothing is computed.
    """
    anew = partial(_built, config, device=device)
    if ranks.size() > 1:
        return _in_turn(anew, progress)
    if not config.chosen_strategy.takes_one_pass(config):
        return anew(progress)
    name = build.named(config.backbone, device)[0]
    cache = NetworkCache(caches.folder_of(config), name, weights=config.weights, image_size=config.image_size)
    model = cache.get(partial(anew, Progress()))
    if model is None:
        return cache.keep_from(partial(anew, progress), card_name=name if config.backbone == "auto" else None)
    if name != config.backbone:
        progress.say(f"backbone {name}")
    return model.to(device)


def _in_turn(build: Callable[[Progress], Backbone], progress: Progress) -> Backbone:
    """What the first rank builds, and then the others, which find what it has downloaded.

    Raises: NetworkError where one of them has another network than the first: it could not be had there.
    """
    model = build(progress) if ranks.is_first() else None
    name = ranks.from_first(model and model.card.name)
    model = model or build(progress)
    if model.card.name != name:
        raise NetworkError(f"process {ranks.rank()} has {model.card.name}, where process 0 has {name}; fetch it first")
    return model


def _built(config: FinetuneConfig, progress: Progress, *, device: str) -> Backbone:
    """The network on `device`, built from its files."""
    torch.manual_seed(seeds.integer(config.seed, "weights"))  # where --weights none asks for random ones
    names = build.named(config.backbone, device)
    model, reason = build.open_backbone(
        names, weights=config.weights, image_size=config.image_size, offline=config.offline
    )
    if len(names) > 1:
        progress.say(f"backbone {model.card.name}{reason and f', not {names[0]}: {reason}'}")
    model.to(device).to(memory_format=torch.channels_last)  # 1.4 times as fast as NCHW on a CPU
    build.fold(model, torch.zeros(1, 3, *model.card.preprocessing.size_px, device=device))
    return model


def space_for(config: FinetuneConfig, model: Backbone) -> int:
    """Bytes that a run of `model` may take on disk: thrice the model, and what a checkpoint holds beside it."""
    state = sum(tensor.nbytes for tensor in model.state_dict().values())
    strategy, members = config.chosen_strategy, config.snapshots or 0
    slots = strategy.slots() * sum(p.nbytes for p in model.parameters() if p.requires_grad)
    return (3 + members) * state + ((2 + members) * state + slots if strategy.trains_network else 0)
