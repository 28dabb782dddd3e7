"""ONNX graphs of photos against transferkit's own answers, in a process that cannot import torch.

python benchmarks/exports.py FOLDER... [--runs RUN...] [--openvino] [--architectures NAME,NAME]

Each FOLDER holds test/CLASS. Networks with random weights, and the models of the RUNs, are exported; onnxruntime then
answers all test photos of the folders, and the same photos in odd sizes, from their pixels. One JSON line a model: the
photos, those named otherwise though no tie, and the largest difference of a probability.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ARCHITECTURES = (
    "resnet18 resnet50d resnext26ts seresnet18 mobilenetv2_100 mobilenetv3_large_100 mobilenetv4_conv_small "
    "efficientnet_b0 tf_efficientnetv2_b0 tf_efficientnet_lite2 convnext_atto convnextv2_atto regnety_002 densenet121 "
    "ghostnet_100 mnasnet_100 hardcorenas_a repvgg_a0 edgenext_xx_small mobilevit_xxs vit_tiny_patch16_224 "
    "deit_tiny_distilled_patch16_224 swin_tiny_patch4_window7_224 levit_128s mixer_s32_224"
)
ODD_PX = ((37, 2000), (900, 35), (1601, 1199), (3, 5), (512, 512), (769, 768))
TIE = 2e-3  # of the two likeliest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--runs", nargs="*", type=Path, default=[])
    parser.add_argument("--architectures", default=ARCHITECTURES.replace(" ", ","))
    parser.add_argument("--each", type=int, default=1, help="every n-th photo for random weights")
    parser.add_argument("--openvino", action="store_true", help="the same of OpenVINO")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        photos = [path for folder in given.folders for path in sorted((folder / "test").rglob("*")) if path.is_file()]
        photos += odd(photos, Path(scratch) / "odd")
        for run in given.runs:
            print(json.dumps({"model": run.name} | compared(run, photos, Path(scratch), given.openvino)), flush=True)
        for name in filter(None, given.architectures.split(",")):
            model = random(name, Path(scratch) / "models" / name, photos[:: len(photos) // 32])
            found = compared(model, photos[:: given.each], Path(scratch), given.openvino)
            print(json.dumps({"model": name} | found), flush=True)


def odd(photos: list[Path], folder: Path) -> list[Path]:
    """Some of the photos in sizes that nobody expects, as PNG."""
    folder.mkdir()
    made = []
    for number, (width, height) in enumerate(ODD_PX):
        made.append(folder / f"{number}.png")
        Image.open(photos[number]).convert("RGB").resize((width, height)).save(made[-1])
    return made


def random(name: str, folder: Path, photos: list[Path]) -> Path:
    """A model folder of a network with random weights, whose head tells `photos` apart and is sure of none."""
    import torch

    from transferkit.data import decode
    from transferkit.data.batches import normalise
    from transferkit.model.build import create
    from transferkit.ship import artifact
    from transferkit.ship.models import Artifact

    torch.manual_seed(0)
    backbone = create(f"timm:{name}", num_classes=5, weights="none")
    preprocessing = backbone.card.preprocessing
    views = np.stack([decode.eval_view(decode.decode(path), preprocessing) for path in photos])
    pixels = normalise(torch.from_numpy(views).permute(0, 3, 1, 2), preprocessing)
    with torch.no_grad():
        layer = backbone.classifier.layers[0]
        layer.weight.normal_()
        layer.bias.zero_()
        logits = torch.cat([backbone.eval()(each) for each in pixels.split(8)])
        spread = logits.std(0).clamp(min=1e-3 * float(logits.abs().max()))  # less is lost in single precision
        layer.weight.div_(spread[:, None])
        layer.bias.sub_(logits.mean(0) / spread)
    artifact.save(
        folder, Artifact(backbone=backbone, classes=tuple("abcde"), preprocessing=preprocessing, record={"seed": 0})
    )
    return folder


def compared(model: Path, photos: list[Path], scratch: Path, openvino: bool) -> dict:
    """How the exported graph answers `photos`, beside transferkit itself."""
    from transferkit.ship.classifier import load

    classifier = load(model, device="cpu")
    classes = classifier.classes
    own = [dict(each.top) for each in classifier.stream(photos, top=len(classes))]
    own = np.array([[each[name] for name in classes] for each in own])
    found = {"photos": len(photos)}
    for format in ("onnx", "openvino")[: 1 + openvino]:
        out = scratch / f"{model.name}.{format}"
        classifier.export(format, out, images=photos[:8])
        np.save(scratch / "photos.npy", np.array([str(path) for path in photos]))
        graph = out / "model.xml" if out.is_dir() else out
        subprocess.run([sys.executable, __file__, "--alone", graph, scratch], check=True)
        theirs = np.load(scratch / "answers.npy")
        top = np.sort(own, axis=1)[:, ::-1]
        is_tie = top[:, 0] - top[:, 1] <= TIE
        others = int(np.sum((own.argmax(1) != theirs.argmax(1)) & ~is_tie))
        differences = np.abs(own - theirs).max(1)
        found[format] = {"named otherwise": others, "largest difference": float(differences.max())}
        found[format] |= {"over 1e-3": int((differences > 1e-3).sum()), "worst": photos[differences.argmax()].name}
    return found


def alone(graph: str, scratch: Path) -> None:
    """Answer the photos with nothing but a runtime, NumPy and Pillow."""
    for name in ("torch", "timm", "transferkit"):
        sys.modules[name] = None  # which makes an import of it fail
    if graph.endswith(".xml"):
        import openvino

        compiled = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

        def run(x):
            return compiled(x)[0]
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

        def run(x):
            return session.run(None, {"photos": x})[0]

    pixels = (np.asarray(Image.open(path).convert("RGB"))[None] for path in np.load(scratch / "photos.npy"))
    np.save(scratch / "answers.npy", np.concatenate([run(x) for x in pixels]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--alone"]:
        alone(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
