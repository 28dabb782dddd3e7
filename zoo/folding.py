"""BatchNorm in evaluation mode done by the convolution before it: one pass over the activations less for each.

`(conv(x) - mean) / sqrt(variance + eps) * weight + bias` is a convolution with other weights. They are computed from
the parameters at every call, so that nothing is to be kept in step: names and values of the state stay, gradients
reach convolution and BatchNorm alike, and a pair whose BatchNorm is in training mode runs as it was written.
"""

import sys
import types
from collections import Counter

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@torch.no_grad()
def fold(model: nn.Module, example: Tensor) -> int:
    """Let every convolution of `model` whose output goes to one BatchNorm alone do that one's work in evaluation.

    The pairs are found by watching one forward pass; outputs in evaluation change by rounding alone.

    Shapes: example (B, 3, H, W), as the network takes it.
    Returns: how many pairs there are.
    Source: Jacob et al. 2018, section 3.2, https://arxiv.org/abs/1712.05877
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        return 0
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        pairs = _pairs(model, example)
    finally:
        for module, was_training in modes.items():
            module.training = was_training
    for convolution, norm in pairs:
        convolution.__dict__["folded_norm"] = norm  # no sub-module: the state has it under its own name
        convolution.forward = types.MethodType(_convolve, convolution)
        norm.forward = types.MethodType(_finish, norm)
    return len(pairs)


def unfold(model: nn.Module) -> None:
    """Undo `fold`: every layer runs as it was written, as graphs for other libraries should show them."""
    for module in list(model.modules()):
        if norm := module.__dict__.pop("folded_norm", None):
            module.__dict__.pop("forward")
            norm.__dict__.pop("forward")


def _convolve(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    norm: nn.BatchNorm2d = convolution.__dict__["folded_norm"]
    mean, variance = norm.running_mean, norm.running_var
    if not _is_folded(norm, x) or mean is None or variance is None:
        return type(convolution).forward(convolution, x)
    scale = norm.weight * torch.rsqrt(variance + norm.eps)  # (C,)
    mean = mean if convolution.bias is None else mean - convolution.bias
    weight, bias = convolution.weight * scale[:, None, None, None], norm.bias - mean * scale
    padding = convolution.padding
    if type(convolution) is not nn.Conv2d:
        x, weight, padding = _padded(convolution, x, weight)
    return nn.functional.conv2d(x, weight, bias, convolution.stride, padding, convolution.dilation, convolution.groups)


def _padded(convolution: nn.Conv2d, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Input, weights and padding of a convolution padded as TensorFlow does, by up to one pixel more after than before.

    On a CPU a depthwise one takes as many before too, and gets weights of zero for that row and column: the same sums
    without a copy of the input, which was a tenth of the time of mobilenetv2_100.
    """
    layers = sys.modules["timm.layers"]
    if x.device.type != "cpu" or convolution.groups != x.shape[1] or convolution.dilation != (1, 1):
        return layers.pad_same(x, weight.shape[-2:], convolution.stride, convolution.dilation), weight, (0, 0)
    both = [
        layers.get_same_padding(size, kernel, stride, 1)
        for size, kernel, stride in zip(x.shape[-2:], weight.shape[-2:], convolution.stride)
    ]
    return x, nn.functional.pad(weight, (both[1] % 2, 0, both[0] % 2, 0)), tuple((pixels + 1) // 2 for pixels in both)


def _is_folded(norm: nn.BatchNorm2d, x: Tensor) -> bool:
    """Whether the convolution does the work of `norm`: not where it learns statistics, nor in training on a GPU.

    There a pass over the activations takes less time than to launch what makes the weights, and their gradients.
    """
    return not norm.training and (x.device.type == "cpu" or not torch.is_grad_enabled())


def _finish(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    if not _is_folded(norm, x):
        return type(norm).forward(norm, x)
    if type(norm) is nn.BatchNorm2d:
        return x
    return norm.get_submodule("act")(norm.get_submodule("drop")(x))  # as timm's BatchNormAct2d ends


def _pairs(model: nn.Module, example: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """The convolutions and BatchNorm layers of which one follows the other, with nothing between or beside."""
    watch = _Watch()
    hooks = []
    convolutions, norms = _kinds()
    for module in model.modules():
        if type(module) in convolutions and module.padding_mode == "zeros":
            hooks.append(module.register_forward_hook(watch.convolved))
        if type(module) in norms and module.track_running_stats and module.affine:
            hooks.append(module.register_forward_pre_hook(watch.normalises))
    try:
        with watch:
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    return watch.pairs()


def _kinds() -> tuple[tuple[type, ...], tuple[type, ...]]:
    """The classes whose forward pass is known; a subclass may do anything in its own."""
    timm = sys.modules.get("timm.layers")  # a network of timm's has imported it
    if timm is None:
        return (nn.Conv2d,), (nn.BatchNorm2d,)
    return (nn.Conv2d, timm.Conv2dSame), (nn.BatchNorm2d, timm.BatchNormAct2d)


class _Watch(TorchFunctionMode):
    """Sees which tensors convolutions return, how often each is used, and by which BatchNorm layers."""

    def __init__(self):
        super().__init__()
        self.outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # the tensor is held: its id stays its own
        self.uses: Counter[int] = Counter()
        self.calls: Counter[nn.Module] = Counter()
        self.followers: dict[nn.Conv2d, list[nn.BatchNorm2d]] = {}

    def convolved(self, module: nn.Conv2d, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        self.calls[module] += 1
        self.outputs[id(output)] = module, output
        self.uses[id(output)] = 0  # those before were of a tensor that is gone

    def normalises(self, module: nn.BatchNorm2d, arguments: tuple[Tensor, ...]) -> None:
        self.calls[module] += 1
        if found := self.outputs.get(id(arguments[0])):
            self.followers.setdefault(found[0], []).append(module)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):  # else it asks for a size or the like
            self.uses.update(id(value) for value in _tensors((*args, *(kwargs or {}).values())))
        return result

    def pairs(self) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Each convolution and BatchNorm that ran once, the one's output having no use but to enter the other."""
        return [
            (convolution, self.followers[convolution][0])
            for convolution, output in self.outputs.values()
            if self.calls[convolution] == self.uses[id(output)] == 1
            and len(self.followers.get(convolution, ())) == 1
            and self.calls[self.followers[convolution][0]] == 1
        ]


def _tensors(values: tuple) -> list[Tensor]:
    """The tensors among `values`, also those one list or tuple down, as in `torch.cat`."""
    found = []
    for value in values:
        found.extend(
            each for each in (value if isinstance(value, (list, tuple)) else (value,)) if isinstance(each, Tensor)
        )
    return found
