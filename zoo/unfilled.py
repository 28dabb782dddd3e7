"""Networks built without drawing the random numbers that a file replaces a moment later."""

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

DRAWS = (Tensor.normal_, Tensor.uniform_, nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_)


class Unfilled(TorchFunctionMode):
    """A context in which random initialisation leaves a tensor as the memory was found.

    The meta device, the usual way, loads torch's compiler for `normal_`, which takes longer than what it saves.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in DRAWS:
            return args[0] if args else kwargs["tensor"]
        return function(*args, **kwargs)
