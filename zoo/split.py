"""Cut a network in two at a stage, so that what is frozen need be computed only once.

The forward pass is traced with torch.fx down to modules that lie in one stage. Those are called whole, so what happens
inside them (dropout, batch statistics) follows their own training mode; only the code between them is copied into the
two halves.
"""

import operator
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg


class StageTracer(fx.Tracer):
    """Traces a network down to the modules named in `leaves`, computing every node for an example beside it.

    The values of the example, in `node.meta["value"]`, decide the branches that depend on sizes: the graph is that of
    images of the example's size.
    """

    proxy_buffer_attributes = True  # else a buffer that is read between modules has no value beside it

    def __init__(self, leaves: Collection[str], example: Tensor):
        super().__init__()
        self.leaves = leaves
        self.example = example
        self.is_computing = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.leaves or super().is_leaf_module(m, module_qualified_name)

    def create_proxy(self, *args, **kwargs) -> fx.Proxy:
        proxy = super().create_proxy(*args, **kwargs)
        self.is_computing = True
        try:
            proxy.node.meta["value"] = self._compute(proxy.node)
        finally:
            self.is_computing = False
        return proxy

    def _compute(self, node: fx.Node) -> Any:
        args, kwargs = map_arg((node.args, node.kwargs), lambda source: source.meta["value"])
        if node.op == "placeholder":
            return self.example
        if node.op == "output":
            return None
        if not isinstance(node.target, str):
            return node.target(*args, **kwargs)
        if node.op == "get_attr":
            return operator.attrgetter(node.target)(self.root)
        if node.op == "call_module":
            return self.root.get_submodule(node.target)(*args, **kwargs)
        return getattr(args[0], node.target)(*args[1:], **kwargs)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple, kwargs: dict) -> Any:
        return forward(*args, **kwargs) if self.is_computing else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        return attr_val if self.is_computing else super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: fx.Proxy) -> bool:
        return bool(obj.node.meta["value"])

    def iter(self, obj: Any) -> Iterator[Any]:  # a proxy, which gets its operators when torch.fx is imported
        return iter([obj[i] for i in range(len(obj.node.meta["value"]))])


@torch.no_grad()
def trace(model: nn.Module, leaves: Collection[str], *, example: Tensor) -> fx.Graph | None:
    """The graph of `model` in evaluation mode; None if it cannot be traced or is another one in training."""
    inner = [module for name, module in model.named_modules() if name not in leaves]
    graphs = []
    try:
        for mode in (True, False):
            for module in inner:
                module.training = mode
            graphs.append(StageTracer(leaves, example).trace(model))
    except Exception:  # code that torch.fx cannot follow fails in as many ways as there are networks
        return None
    finally:
        for module in inner:
            module.training = False
    training, evaluation = graphs
    return evaluation if str(training) == str(evaluation) else None


def cut(
    model: nn.Module, graph: fx.Graph, *, depth: int, depth_of: Callable[[str], int]
) -> tuple[nn.Module, nn.Module] | None:
    """Two modules that share the weights of `model`; the second continues where the first ends.

    The first holds everything that depends only on stages up to number `depth` and returns a tensor, or a tuple of
    them, with one row an image. None if something else, such as a size, would have to be handed over.

    Args: graph, from `trace`. depth_of, the stage number of a module, parameter or buffer.
    """
    output = next(node for node in graph.nodes if node.op == "output")
    nodes = _needed(graph, [output])
    depths: dict[fx.Node, int] = {}
    moving: set[fx.Node] = set()  # what depends on the images; the rest is computed on either side
    for node in nodes:
        own = depth_of(str(node.target)) if node.op in ("call_module", "get_attr") else 0
        depths[node] = max([own, *(depths[source] for source in node.all_input_nodes)])
        if node.op == "placeholder" or not moving.isdisjoint(node.all_input_nodes):
            moving.add(node)
    deep = {node for node in nodes if depths[node] > depth}
    ends = deep | {output}
    handed = [node for node in nodes if node in moving and node not in deep and not ends.isdisjoint(node.users)]
    images = next(iter(graph.nodes)).meta["value"]
    for value in (node.meta["value"] for node in handed):
        if not isinstance(value, Tensor) or value.shape[:1] != images.shape[:1]:
            return None
    return _prefix(model, graph, handed), _suffix(model, graph, handed)


def _needed(graph: fx.Graph, ends: Sequence[fx.Node], given: Collection[fx.Node] = ()) -> list[fx.Node]:
    """The nodes, in order, that `ends` are computed from when `given` are known; without `given` and the output."""
    needed: set[fx.Node] = set()
    pending = list(ends)
    while pending:
        node = pending.pop()
        if node not in needed and node not in given:
            needed.add(node)
            pending.extend(node.all_input_nodes)
    return [node for node in graph.nodes if node in needed and node.op != "output"]


def _prefix(model: nn.Module, graph: fx.Graph, handed: list[fx.Node]) -> fx.GraphModule:
    half = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    _copy(_needed(graph, handed), half, copies)
    values = [copies[node] for node in handed]
    half.output(tuple(values) if len(values) > 1 else values[0])
    return fx.GraphModule(model, half)


def _suffix(model: nn.Module, graph: fx.Graph, handed: list[fx.Node]) -> fx.GraphModule:
    half = fx.Graph()
    values = half.placeholder("values")
    copies = {node: half.call_function(operator.getitem, (values, i)) for i, node in enumerate(handed)}
    if len(handed) == 1:
        copies = {handed[0]: values}
    output = next(node for node in graph.nodes if node.op == "output")
    _copy([*_needed(graph, [output], handed), output], half, copies)
    return fx.GraphModule(model, half)


def _copy(nodes: list[fx.Node], half: fx.Graph, copies: dict[fx.Node, fx.Node]) -> None:
    """Append copies of `nodes` to `half`, without the example's values, and note them in `copies`."""
    for node in nodes:
        copies[node] = half.node_copy(node, copies.__getitem__)
        copies[node].meta = {}
