"""What is particular to each network that is trained on CIFAR: its inputs, its loss, and what is kept of it."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import PurePath
from typing import Protocol

import torch
from sklearn.decomposition import PCA
from torch import Tensor, nn

from transferkit import kinds, runtime
from transferkit.data.batches import normalise
from transferkit.model import build
from transferkit.model.build import CifarMlp, CifarResNet, Preprocessing, he_normal, pack
from transferkit.pretraining.recipe import Recipe
from transferkit.progress import Progress
from transferkit.runtime import BF16, FP32
from transferkit.train.state import State

TEACHER_BATCH = 250
WHITENED_IMAGES = 5000  # enough for the covariance of 12 numbers


class Student(Protocol):
    """A network in training. `network` holds what is trained; images are (B, 3, 32, 32) uint8."""

    network: nn.Module
    recipe: Recipe
    device: str
    preprocessing: Preprocessing

    def loss(self, images: Tensor, labels: Tensor, *, rows: Tensor, flipped: Tensor) -> tuple[Tensor, Tensor]:
        """The loss to descend and the logits (B, K) for views of the training images `rows`."""
        ...

    def state(self) -> State:
        """The weights of the network that users get, in single precision."""
        ...

    def stored(self) -> State:
        """The tensors of the weights file."""
        ...

    def opened(self, state: State) -> nn.Module:
        """The network that users get, with these weights, in evaluation mode."""
        ...

    def description(self) -> str:
        """What the network is, in sentences."""
        ...


class MlpStudent:
    """The perceptron, its first layer trained in the principal components of the zero-centred images.

    A photo's fine detail is mostly noise to a perceptron. In `rank` components the first layer has a quarter of the
    weights; multiplied by the components it is a layer on pixels like any other.
    """

    def __init__(self, images: Tensor, *, num_classes: int, recipe: Recipe, device: str, progress: Progress):
        self.recipe = recipe
        self.device = device
        self.num_classes = num_classes
        self.preprocessing = Preprocessing(size_px=(32, 32), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), crop_pct=1.0)
        progress.say(f"finding {recipe.rank} principal components of {len(images):,} images and their mirror images")
        rank = kinds.present(recipe.rank)
        mean, basis = principal_components(images, rank)
        self.mean, self.basis = mean.to(device), basis.to(device)
        second, third = recipe.dropout  # shares of what these layers receive
        self.network = CifarMlp(num_classes, dropout=(second, third), dropconnect=recipe.dropconnect)
        self.network.fc1 = nn.Linear(rank, self.network.fc1.out_features)
        he_normal(self.network.fc1.weight)
        nn.init.zeros_(self.network.fc1.bias)
        nn.init.normal_(self.network.fc.weight, 0, 0.01)  # equal probabilities to begin with
        self.network.to(device)

    def loss(self, images: Tensor, labels: Tensor, *, rows: Tensor, flipped: Tensor) -> tuple[Tensor, Tensor]:
        x = images.to(self.device).flatten(1) / 255 - self.mean  # (B, 3072)
        with fast_arithmetic(self.device):
            logits = self.network.from_first(self.network.fc1(x @ self.basis.T))
        logits = logits.float()
        return nn.functional.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing), logits

    def state(self) -> State:
        state = self._factored()
        return state | {"fc1.weight": state["fc1.weight"] @ self.basis.cpu()}

    def _factored(self) -> State:
        """The weights with those of the first layer in principal components."""
        state = {name: tensor.cpu() for name, tensor in self.network.state_dict().items()}
        return state | {"mean": self.mean.cpu().view(3, 32, 32)}

    def stored(self) -> State:
        """In 8 bits, the first layer as its two factors."""
        state = self._factored()
        return pack(state, low_rank={"fc1.weight": (state["fc1.weight"], self.basis.cpu())})

    def opened(self, state: State) -> nn.Module:
        return _opened(CifarMlp(self.num_classes), state)

    def description(self) -> str:
        widths = "-".join(str(layer.out_features) for layer in (self.network.fc1, self.network.fc2, self.network.fc3))
        return (
            f"A multilayer perceptron {self.mean.numel()}-{widths} on zero-centred pixels, stored in 8 bits. "
            f"Its first layer was trained in {self.recipe.rank} principal components of the images."
        )


def principal_components(images: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The mean pixels of images and their mirror images, and the directions in which these vary most.

    The directions are scaled by one number, such that the coordinates have variance 1 on average.

    Shapes: images (N, 3, H, W) uint8 -> (D,), (rank, D), for pixels in 0..1.
    """
    x = torch.cat([images, images.flip(3)]).flatten(1).numpy().astype("float32") / 255  # (2N, D)
    few = len(x) < x.shape[1]
    found = PCA(rank, svd_solver="full" if few else "covariance_eigh", copy=False).fit(x)
    scale = found.explained_variance_.mean() ** -0.5
    return torch.from_numpy(found.mean_), torch.from_numpy(found.components_ * scale)


class ResNetStudent:
    """The residual network, which learns the labels and, with a linear map to help, a teacher's features."""

    def __init__(self, images: Tensor, *, num_classes: int, recipe: Recipe, device: str, progress: Progress):
        self.device = device
        self.num_classes = num_classes
        self.recipe = recipe
        pixels = images.permute(0, 2, 3, 1).reshape(-1, 3).double() / 255
        mean, std = (tuple(round(v, 4) for v in values.tolist()) for values in (pixels.mean(0), pixels.std(0)))
        self.preprocessing = Preprocessing(size_px=(32, 32), mean=mean, std=std, crop_pct=1.0)
        model = CifarResNet(num_classes)
        model.whiten(self._inputs(images[:WHITENED_IMAGES]).cpu())
        model.stem[0].weight.requires_grad_(False)  # it is a fixed change of coordinates
        self.model = model
        self.network = nn.ModuleDict({"model": model})
        self.targets = None
        if recipe.teacher:
            progress.start("features of the teacher", 2 * len(images))
            self.targets = teacher_features(recipe, images, device=device, progress=progress)
            progress.finish()
            self.network["guess"] = nn.Linear(model.fc.in_features, self.targets.shape[2])
        self.network.to(device).to(memory_format=torch.channels_last)

    def _inputs(self, images: Tensor) -> Tensor:
        x = normalise(images.to(self.device), self.preprocessing)
        return x.contiguous(memory_format=torch.channels_last)

    def loss(self, images: Tensor, labels: Tensor, *, rows: Tensor, flipped: Tensor) -> tuple[Tensor, Tensor]:
        with fast_arithmetic(self.device):
            features = self.model.features(self._inputs(images))
        features = features.float()
        logits = self.model.fc(features)
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        if self.targets is not None:
            wanted = self.targets[flipped.long(), rows].to(self.device).float()
            loss = loss + self.recipe.teacher_weight * nn.functional.mse_loss(self.network["guess"](features), wanted)
        return loss, logits

    def state(self) -> State:
        return {name: tensor.cpu() for name, tensor in self.model.state_dict().items()}

    def stored(self) -> State:
        """In half precision."""
        state = self.state()
        return {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}

    def opened(self, state: State) -> nn.Module:
        return _opened(CifarResNet(self.num_classes), state)

    def description(self) -> str:
        network = "A residual network of three stages for images of 32 to 128 px, stored in half precision."
        if not self.recipe.teacher:
            return network
        teacher = PurePath(self.recipe.teacher).name
        return f"{network} Beside the labels it learned to guess the features of {teacher} on the same images."


def fast_arithmetic(device: str) -> AbstractContextManager:
    """A context of bfloat16 where `device` has instructions for it; elsewhere it is many times as slow as fp32."""
    return runtime.arithmetic(device, BF16 if runtime.computes_bf16(device) else FP32)


def _opened(network: nn.Module, state: State) -> nn.Module:
    network.load_state_dict(state)
    return network.eval()


@torch.no_grad()
def teacher_features(recipe: Recipe, images: Tensor, *, device: str, progress: Progress) -> Tensor:
    """The features of the recipe's teacher for each image and its mirror image, each of mean 0 and deviation 1.

    Shapes: images (N, 3, H, W) uint8 -> (2, N, D) float16.
    Raises: UsageError, ModelFileError, NetworkError.
    """
    size_px = recipe.teacher_size_px
    teacher = (
        build.create(kinds.present(recipe.teacher), image_size=size_px)
        .to(device)
        .to(memory_format=torch.channels_last)
        .eval()
    )

    def features(batch: Tensor) -> Tensor:
        progress.advance(len(batch))
        x = normalise(batch.to(device), teacher.card.preprocessing)
        x = nn.functional.interpolate(x, size=(size_px, size_px), mode="bicubic", align_corners=False)
        with fast_arithmetic(device):
            return teacher.features(x.contiguous(memory_format=torch.channels_last)).float().cpu()

    plain, mirrored = (
        torch.cat([features(batch) for batch in views.split(TEACHER_BATCH)]) for views in (images, images.flip(3))
    )
    mean, deviation = plain.mean(0), plain.std(0) + 1e-3
    return torch.stack([(plain - mean) / deviation, (mirrored - mean) / deviation]).half()


STUDENTS: Mapping[str, type] = {"cifar_mlp": MlpStudent, "cifar_resnet": ResNetStudent}
