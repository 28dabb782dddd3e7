"""The machine: device, threads, versions."""

import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from transferkit import cores, ranks
from transferkit.zoo.errors import MemoryExhaustedError, UsageError, is_out_of_memory
from transferkit.zoo.text import first_line

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
FP32, BF16, FP16 = "fp32", "bf16", "fp16"  # precisions, as people name them
BF16_UNITS = (8, 0)  # the compute capability from which GPUs compute in bfloat16
TENSOR_CORES = (7, 0)  # the compute capability from which GPUs have units for products of fp16
LIBRARIES = ("torch", "torchvision", "timm", "albumentations", "numpy", "pillow", "safetensors")


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide a result, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):  # albumentations, without which torchvision does
            found[name] = metadata.version(name)
    return found


def processor(device: str = "cpu") -> str:
    """The name of the GPU that computes, else of the CPU where the system tells it, else its kind."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    told = Path("/proc/cpuinfo")
    lines = told.read_text(errors="replace").splitlines() if told.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def pick_device(name: str) -> str:
    """The torch device for `name`: "auto" is a CUDA or Apple GPU if there is one, else the CPU.

    Where several ranks run on GPUs, each takes the one of its number on its machine.

    Raises: UsageError if the device asked for is not there.
    """
    import torch

    has_mps = torch.backends.mps.is_available() and ranks.size() == 1  # one GPU, which no exchange can reach
    has = {"cuda": torch.cuda.is_available(), "mps": has_mps, "cpu": True}
    if name == "auto":
        name = next(kind for kind in has if has[kind])
    kind = name.split(":")[0]
    if kind not in has:
        raise UsageError(f"unknown device {name!r}; known: auto, {', '.join(has)}")
    if not has[kind]:
        raise UsageError(f"no {kind} device on this machine; leave out --device or use --device cpu")
    return _own_gpu(name) if kind == "cuda" and ranks.size() > 1 else name


def _own_gpu(name: str) -> str:
    """The GPU of this rank, which becomes the current one of the process."""
    import torch

    there, wanted = torch.cuda.device_count(), ranks.local_size()
    if name != "cuda":
        raise UsageError(f"--device {name} is one GPU for {wanted} processes; use --device cuda: each takes its own")
    if wanted > there:
        raise UsageError(f"{wanted} processes for {there} GPUs; start one a GPU, or use --device cpu")
    torch.cuda.set_device(ranks.local_rank())
    return f"cuda:{ranks.local_rank()}"


def computes_bf16(device: str) -> bool:
    """Whether a device has instructions for bfloat16, as far as the system tells."""
    import torch

    kind = torch.device(device).type
    if kind == "cuda":
        # not `is_bf16_supported`, which asks the current device
        return bool(torch.version.hip) or torch.cuda.get_device_capability(device) >= BF16_UNITS
    told = Path("/proc/cpuinfo")
    lines = told.read_text(errors="replace").splitlines() if told.is_file() else []
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return kind == "cpu" and not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags.split())


def computes_fp16(device: str) -> bool:
    """Whether a device is a GPU with tensor cores, which multiply fp16 several times as fast as fp32."""
    import torch

    return torch.device(device).type == "cuda" and torch.cuda.get_device_capability(device) >= TENSOR_CORES


def arithmetic(device: "str | torch.device", precision: str) -> AbstractContextManager:
    """A context in which networks compute in `precision` on `device`: as they are, or by autocast."""
    import torch

    lower = torch.float16 if precision == FP16 else torch.bfloat16
    return torch.autocast(torch.device(device).type, lower, enabled=precision != FP32)


def default_workers(device: str = "cpu") -> int:
    """Threads that read and decode images, one a core, 8 at most, or processes, 16; ranks divide a machine's cores."""
    most = 16 if wants_processes(device) else 8
    return max(1, min(cores.count() // ranks.local_size(), most))


def wants_processes(device: str) -> bool:
    """Whether `device` is so fast that processes must read its images: threads share a lock with what feeds it."""
    return device.startswith("cuda") and os.name == "posix"


MEMORY_LIMITS = (  # of a container, what it uses, and what of that are files it may drop: control groups 2 and 1
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)


def available_memory(system: Path = Path("/")) -> int:
    """Bytes of memory that are free or can be freed, for this process and its container; 0 where nobody says it."""
    told = system / "proc/meminfo"
    lines = told.read_text().splitlines() if told.is_file() else []
    free = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 0)
    group = system / "sys/fs/cgroup"
    for limit, usage, stat, files in MEMORY_LIMITS:
        with suppress(OSError, ValueError):  # no such files, or "max"
            most, used = (int((group / name).read_text()) for name in (limit, usage))
            lines = (group / stat).read_text().splitlines() if (group / stat).is_file() else []
            dropped = next((int(line.split()[1]) for line in lines if line.startswith(f"{files} ")), 0)
            free = min(free, max(most - used + dropped, 0))
    return free


def peak_memory() -> int:
    """Bytes of memory that this process had at its peak so far; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found << 10


def prepare_process() -> None:
    """Let this process keep the memory that it frees, and compute on those cores alone that it may use."""
    keep_freed_memory()
    cores.limit_threads()


def keep_freed_memory() -> None:
    """Let the C library reuse freed memory instead of giving it back to the system, where it can (glibc).

    A forward pass frees and allocates the same large blocks for every batch; fetching each page anew took more than
    half of the time of mobilenetv2_100 on 2 cores (58 images/s, 145 with this).
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None) if os.name == "posix" else None, "mallopt", None)
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def memory_bytes(device: "torch.device") -> int:
    """All memory of a CUDA device, whether it is free or not; 0 of any other."""
    import torch

    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0


def is_gpu_out_of_memory(error: BaseException, device: "torch.device") -> bool:
    """Whether `error` says that memory of a GPU ran out, where less at a time may do."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or (device.type != "cpu" and is_out_of_memory(error))


def give_back_memory(device: "torch.device") -> None:
    """Give the memory that torch holds back for later to the GPU: after an error it lies in pieces of a wrong size."""
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


@contextmanager
def device_errors() -> Iterator[None]:
    """Turn what the device cannot do inside the block into an error that says what helps.

    That is a MemoryExhaustedError, or a UsageError for an operator that Apple's GPU has not.
    """
    try:
        yield
    except NotImplementedError as error:
        found = re.search(r"operator '([^']+)' is not current(?:ly)? implemented for the MPS", str(error))
        if not found:
            raise
        raise UsageError(
            f"the GPU of this Mac has no {found[1]}, which the network needs; use --device cpu, or set "
            "PYTORCH_ENABLE_MPS_FALLBACK=1 and the CPU computes it"
        ) from error
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryExhaustedError(
            "out of memory; use a smaller --batch-size, a smaller --image-size or another --backbone"
        ) from error


@contextmanager
def compile_errors() -> Iterator[None]:
    """Turn what torch.compile cannot do inside the block into a UsageError."""
    try:
        yield
    except RuntimeError as error:
        dynamo = sys.modules.get("torch._dynamo.exc")
        if not dynamo or not isinstance(error, dynamo.TorchDynamoException):
            raise
        raise UsageError(f"torch.compile cannot compile the network: {first_line(error)}; drop --compile") from error
