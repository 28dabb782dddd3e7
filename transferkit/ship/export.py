"""A model as one file for other programs, proved against PyTorch on real images before it gets its name.

The graphs of `onnx` and `torch-export` take pixels after resize and crop, uint8 (B, 3, H, W), and return probabilities
(B, K): normalisation is inside, so nobody has to write it again.
"""

import contextlib
import copy
import dataclasses
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from transferkit.model.build import Preprocessing
from transferkit.ship import artifact as artifacts
from transferkit.ship import description
from transferkit.ship.artifact import Artifact, Ensemble
from transferkit.zoo.errors import ParityError, UsageError, is_out_of_memory
from transferkit.zoo.files import write_bytes, write_safetensors
from transferkit.zoo.text import first_line

FORMATS = ("safetensors", "timm", "onnx", "torch-export")
MAX_DIFFERENCE = 1e-4  # of any probability
BATCH_SIZE = 16
ONE_BY_ONE = "export its members one by one: MODEL/members/0 and so on"
ANY_BATCH = {"pixels": {0: torch.export.Dim("batch")}}

Run = Callable[[Tensor], np.ndarray]  # uint8 (B, 3, H, W) -> probabilities (B, K)


class FromPixels(nn.Module):
    """Networks that see the same pixels, with normalisation before them and the mean of their softmax outputs after.

    Shapes: uint8 (B, 3, H, W) -> (B, K), rows sum to 1.
    """

    def __init__(self, networks: Sequence[nn.Module], preprocessing: Preprocessing, *, num_classes: int):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.num_classes = num_classes
        self.register_buffer("mean", 255 * torch.tensor(preprocessing.mean)[:, None, None])
        self.register_buffer("std", 255 * torch.tensor(preprocessing.std)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        x = (pixels.float() - self.mean) / self.std
        logits = torch.cat([network(x) for network in self.networks], dim=1)  # (B, M * K)
        return logits.unflatten(1, (-1, self.num_classes)).softmax(2).mean(1)


def export(model: Artifact | Ensemble, *, format: str, out: str | Path, pixels: Tensor) -> Path:
    """Write the model to `out` in another format and return its path.

    Args: format is one of FORMATS; pixels, uint8 (N, 3, H, W), are real images on which the graphs are compared.
    Raises: ParityError, and nothing is written, if an image is named otherwise or a probability differs by over 1e-4;
    UsageError for an unknown format, one that cannot hold the model, or missing packages; StorageError.
    """
    out = Path(out)
    if format not in FORMATS:
        raise UsageError(f"no export format {format!r}; known: {', '.join(FORMATS)}")
    if out.is_dir() or (format == "timm" and out.exists()):
        raise UsageError(f"{out} exists already; name a {'folder' if format == 'timm' else 'file'} that does not")
    if format in ("onnx", "torch-export"):
        write_bytes(out, _proved(model, format=format, pixels=pixels))
        return out
    if isinstance(model, Ensemble):
        raise UsageError(f"{format} holds one network and this is an ensemble of {len(model.members)}; {ONE_BY_ONE}")
    content = {field.name: getattr(model, field.name) for field in dataclasses.fields(model)}
    if format == "safetensors":
        own = description.describe(**content)["transferkit"]
        state = model.backbone.model.state_dict()
        write_safetensors(out, state, {"format": "pt", "transferkit": json.dumps(own)})
    elif model.backbone.spec["family"] == "timm":
        artifacts.save(out, **content)
    else:
        raise UsageError(f"{model.name} is no timm network; the other formats take it")
    return out


def _proved(artifact: Artifact | Ensemble, *, format: str, pixels: Tensor) -> bytes:
    """The bytes of the exported graph, after a run of them gave PyTorch's answers. Raises: ParityError, UsageError."""
    passes = artifact.passes()
    preprocessing = passes[0].preprocessing
    if any(each.preprocessing != preprocessing for each in passes):
        raise UsageError(
            f"members that prepare images in different ways cannot become one {format} graph; {ONE_BY_ONE}"
        )
    if format == "onnx":
        _require_onnx()
    networks = [copy.deepcopy(each.network) for each in passes]
    model = FromPixels(networks, preprocessing, num_classes=len(artifact.classes))
    model = model.cpu().float().eval().requires_grad_(False)
    with torch.no_grad():
        expected = _in_batches(lambda x: model(x).numpy(), pixels)
    facts = {
        "input": "RGB pixels after resize and crop as in preprocessing, uint8 (B, 3, H, W); not normalised",
        "output": "probabilities (B, K) in the order of classes",
        "classes": json.dumps(artifact.classes),
        "preprocessing": json.dumps(dataclasses.asdict(preprocessing)),
    }
    try:
        with _quiet(), torch.no_grad():
            data, run = (_onnx if format == "onnx" else _torch_export)(_graph(model, preprocessing), facts)
            found = _in_batches(run, pixels)
    except Exception as error:  # the exporters raise anything where a network does not suit them
        if is_out_of_memory(error):
            raise
        raise ParityError(f"{artifact.name} cannot be exported as {format}: {first_line(error)}") from error
    _compare(expected, found, format=format)
    return data


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(f"export to onnx needs {error.name}: pip install 'transferkit[export]'") from error


def _graph(model: nn.Module, preprocessing: Preprocessing) -> torch.export.ExportedProgram:
    """The network as a graph for any batch size, without the paths of this machine."""
    example = torch.zeros(2, 3, *preprocessing.size_px, dtype=torch.uint8)
    program = torch.export.export(model, (example,), dynamic_shapes=ANY_BATCH)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    return program


def _onnx(program: torch.export.ExportedProgram, facts: dict[str, str]) -> tuple[bytes, Run]:
    """The graph as ONNX, with `facts` as its metadata, and how to run these bytes in onnxruntime."""
    import onnxruntime

    names = {"input_names": ["pixels"], "output_names": ["probabilities"]}
    exported = torch.onnx.export(program, dynamo=True, dynamic_shapes=ANY_BATCH, verbose=False, **names)
    exported.model.metadata_props.update(facts)
    data = exported.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, lambda x: session.run(None, {"pixels": x.numpy()})[0]


def _torch_export(program: torch.export.ExportedProgram, facts: dict[str, str]) -> tuple[bytes, Run]:
    """The graph as a .pt2 archive, with `facts` in its extra file transferkit.json, and how to run these bytes."""
    archive = io.BytesIO()
    torch.export.save(program, archive, extra_files={"transferkit.json": json.dumps(facts)})
    data = archive.getvalue()
    module = torch.export.load(io.BytesIO(data)).module()  # never a foreign file: these may hold a pickle
    return data, lambda x: module(x).numpy()


def _in_batches(run: Run, pixels: Tensor) -> np.ndarray:
    """The probabilities of all images: the first one alone, the rest in batches, so that two batch sizes are tried.

    Shapes: uint8 (N, 3, H, W) -> (N, K).
    """
    batches = [pixels[:1], *pixels[1:].split(BATCH_SIZE)]
    return np.concatenate([run(batch) for batch in batches if len(batch)])


def _compare(expected: np.ndarray, found: np.ndarray, *, format: str) -> None:
    """Raise ParityError unless every image has the same name and nearly the same probabilities in both."""
    others = int((expected.argmax(1) != found.argmax(1)).sum())
    difference = float(np.abs(expected - found).max())
    if others or not difference <= MAX_DIFFERENCE:  # `not` for NaN
        raise ParityError(
            f"the {format} export names {others} of {len(expected)} images otherwise than PyTorch and its "
            f"probabilities differ by up to {difference:.1e} ({MAX_DIFFERENCE:.0e} is allowed); nothing was written"
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing that the exporters print, log or warn of gets out of the block."""
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
