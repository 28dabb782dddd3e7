"""An expert's probe: timm features, a scaler and scikit-learn's logistic regression, its C by cross-validation.

expert_probe.py FOLDER --architecture NAME [--weights DIR]; FOLDER holds train/CLASS, and test/CLASS or val/CLASS.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import timm
import torch
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

STRENGTHS = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--architecture", required=True)
    parser.add_argument("--weights", type=Path)
    given = parser.parse_args()
    torch.manual_seed(0)
    name = f"local-dir:{given.weights}" if given.weights else given.architecture
    model = timm.create_model(name, pretrained=given.weights is not None, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    judging = "test" if (given.folder / "test").is_dir() else "val"
    train, test = (ImageFolder(given.folder / part, transform) for part in ("train", judging))
    x, y = features(model, train)
    head = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=STRENGTHS, cv=5, max_iter=1000, n_jobs=-1))
    accuracy = head.fit(x, y).score(*features(model, test))
    print(json.dumps({"accuracy": accuracy, "n": len(test), "C": head[-1].C_.tolist()}))


@torch.inference_mode()
def features(model: torch.nn.Module, images: ImageFolder) -> tuple[np.ndarray, np.ndarray]:
    """Shapes: (N, D), (N,)."""
    found = [(model(x).numpy(), y.numpy()) for x, y in DataLoader(images, batch_size=64, num_workers=2)]
    x, y = zip(*found)
    return np.concatenate(x), np.concatenate(y)


if __name__ == "__main__":
    main()
