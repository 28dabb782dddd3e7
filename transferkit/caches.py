"""What a run keeps from earlier ones and for later ones, in the cache folder that its options name."""

from pathlib import Path
from typing import TYPE_CHECKING

from transferkit import ranks, runtime
from transferkit.config import FinetuneConfig
from transferkit.progress import Progress
from transferkit.zoo import cache_folder

if TYPE_CHECKING:
    from transferkit.data.photos import Photos
    from transferkit.model.build import Backbone
    from transferkit.model.features import Extractor
    from transferkit.model.precision import Precision


def folder_of(config: FinetuneConfig) -> Path:
    """The folder of all of it, marked as ours."""
    return cache_folder.opened(config.cache_dir)


def photos_of(config: FinetuneConfig, model: "Backbone", progress: Progress, *, device: str) -> "Photos":
    """What reads photos for `model`, with as many threads as asked for, else one a core.

    Photos that epochs read again stay in memory, the first of them, unless processes read them, which keep their own.
    """
    from transferkit.data.known import Known
    from transferkit.data.photos import HELD_BYTES, Decoding, Photos
    from transferkit.data.store import Store

    cache = folder_of(config)
    decoding = Decoding.of(model.card.preprocessing)
    shared, several = runtime.wants_processes(device), not config.chosen_strategy.takes_one_pass(config)
    return Photos(
        decoding,
        workers=runtime.default_workers(device) if config.workers is None else config.workers,
        store=Store(cache, side=decoding.side_px, bit_depth=decoding.bit_depth, progress=progress),
        index=Known(cache / "known" / "files.sqlite"),
        held_bytes=HELD_BYTES // ranks.local_size() if several and not shared else 0,
    )


def extractor_of(
    config: FinetuneConfig, model: "Backbone", *, weights: str, precision: "Precision", device: str
) -> "Extractor":
    """What computes the features of `model` and keeps them under all that they depend on; `weights` is their hash."""
    from transferkit.data import photos, store
    from transferkit.model.feature_cache import FeatureCache, key_of
    from transferkit.model.features import Extractor

    tf32 = device.startswith("cuda") and not precision.is_single
    pixels = {"rule": store.decode_rule(), "side": photos.source_side(model.card.preprocessing)}
    cache = FeatureCache(folder_of(config), key_of(model, weights=weights, pixels=pixels, device=device, tf32=tf32))
    views = config.chosen_strategy.feature_views(config)
    return Extractor(model=model, views=views, mirrors=config.mirrors, precision=precision.features, cache=cache)
