"""The fastest that this machine decodes a photo, passes it forward, and trains on it: milliseconds an image.

fastest.py FOLDER --architecture NAME [--training]; FOLDER holds photos at any depth.

Decoding and shrinking to 224 px: Pillow, and torchvision with antialiasing, one thread a core. Forward, and with
--training also forward, backward and step of SGD: fp32 and bf16, both memory formats, batches of 32. The best of a few
rounds of each, all ways of which are printed.
"""

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import timm
import torch
from PIL import Image
from torch import nn
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms.v2 import functional

from transferkit import runtime

SIZE_PX, SHRUNK_PX, BATCH = 224, 256, 32
FILES, PASSES, ROUNDS = 256, 3, 2  # rounds of a batch, which takes seconds
FORMATS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--weights", type=Path, help="not used: they change no time")
    parser.add_argument("--training", action="store_true")
    given = parser.parse_args()
    runtime.keep_freed_memory()
    torch.manual_seed(0)
    files = sorted(path for path in given.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))[:FILES]
    model = timm.create_model(given.architecture, num_classes=5)
    both = {"Pillow": lambda: all_of(files, with_pillow), "torchvision": lambda: all_of(files, with_torch)}
    told = {
        "decode": fastest(both, images=len(files), rounds=PASSES),
        "forward": fastest(settings(model, passes_forward), images=BATCH, rounds=ROUNDS),
    }
    if given.training:
        told["step"] = fastest(settings(model, steps), images=BATCH, rounds=ROUNDS)
    print(json.dumps(told))


def fastest(ways: dict[str, Callable[[], object]], *, images: int, rounds: int) -> dict[str, float]:
    """Milliseconds an image in the best round of each way; one that cannot do the work is left out."""
    best = {}
    for name, work in ways.items():
        try:
            work()  # warm
        except (RuntimeError, NotImplementedError):  # another kind of file, no such kernel
            continue
        best[name] = 1000 * min(seconds(work) for _ in range(rounds)) / images
    return best


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def all_of(files: list[Path], decode: Callable[[Path], object]) -> None:
    """Decode all files, with a thread for each core."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(decode, files))
    torch.set_num_threads(threads)


def with_pillow(path: Path) -> Image.Image:
    image = Image.open(path).convert("RGB")
    scale = SHRUNK_PX / min(image.size)
    return image.resize([round(side * scale) for side in image.size], Image.Resampling.BILINEAR)


def with_torch(path: Path) -> torch.Tensor:
    coded = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8)
    return functional.resize(decode_jpeg(coded, mode=ImageReadMode.RGB), SHRUNK_PX, antialias=True)


def settings(model: nn.Module, make: Callable) -> dict[str, Callable[[], object]]:
    """The work that `make` makes of a model and its input, for each precision and memory format."""
    ways = {}
    for name, memory_format in FORMATS.items():
        x = torch.randn(BATCH, 3, SIZE_PX, SIZE_PX).to(memory_format=memory_format)
        for is_bf16 in (False, True):
            label = f"{'bf16' if is_bf16 else 'fp32'} {name}"
            ways[label] = make(model, x, memory_format=memory_format, is_bf16=is_bf16)
    return ways


def passes_forward(model: nn.Module, x: torch.Tensor, *, memory_format: torch.memory_format, is_bf16: bool) -> Callable:
    def work() -> None:
        model.eval().to(memory_format=memory_format)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            model(x)

    return work


def steps(model: nn.Module, x: torch.Tensor, *, memory_format: torch.memory_format, is_bf16: bool) -> Callable:
    y = torch.arange(BATCH) % 5
    optimiser = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)

    def work() -> None:
        model.train().to(memory_format=memory_format)
        with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            loss = nn.functional.cross_entropy(model(x).float(), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return work


if __name__ == "__main__":
    main()
