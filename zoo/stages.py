"""The stages of a network, shallow to deep: which parameters make one, its name, and which modules belong to it."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from torch import nn
from torch.nn.modules.dropout import _DropoutNd

# Children whose own children are stages.
CONTAINERS = {"blocks", "encoder", "features", "layers", "stages", "trunk_output"}


def group_by_children(names: Iterable[str]) -> list[list[str]]:
    """Group parameter names by the child module they lie in; a container named in CONTAINERS is opened.

    A parameter that lies in no child, such as a class token, joins the group before it, or else the first.

    >>> group_by_children(["token", "stem.weight", "features.0.weight", "features.1.weight", "fc.weight"])
    [['token', 'stem.weight'], ['features.0.weight'], ['features.1.weight'], ['fc.weight']]
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        child = _child(name) or next(reversed(groups), "")
        groups.setdefault(child, []).append(name)
    unplaced = groups.pop("", [])
    first, *rest = groups.values()
    return [unplaced + first, *rest]


def _child(name: str) -> str:
    """The part of a parameter's name that names its stage: `encoder.layers.3.norm.weight` -> `encoder.layers.3`."""
    parts = name.split(".")[:-1]
    for depth, part in enumerate(parts, start=1):
        if part not in CONTAINERS:
            return ".".join(parts[:depth])
    return ""


def separate_heads(groups: list[list[str]], heads: tuple[str, ...]) -> list[list[str]]:
    """The groups with the parameters of the final layers taken out and put last, as a group of their own."""
    is_head = {name: name.rpartition(".")[0] in heads for group in groups for name in group}
    rest = [[name for name in group if not is_head[name]] for group in groups]
    return [group for group in rest if group] + [[name for name, claim in is_head.items() if claim]]


def name_groups(
    groups: list[list[str]], sizes: dict[str, int], *, bodies: Sequence[str] = ("",)
) -> dict[str, list[str]]:
    """Map a name to each group: of the modules that lie wholly inside the group, the one with the most weights.

    Of networks inside another, whose names begin with `bodies`, a group has the name that each of them gives its part,
    all of them where they differ.

    >>> name_groups([["token", "stem.weight", "blocks.0.weight"], ["blocks.1.weight"]], {"blocks.0.weight": 9})
    {'blocks.0': ['token', 'stem.weight', 'blocks.0.weight'], 'blocks.1': ['blocks.1.weight']}
    >>> list(name_groups([["0.stem.bias", "1.stem.bias"], ["0.fc.bias", "1.head.bias"]], {}, bodies=("0.", "1.")))
    ['stem', 'fc+head']
    """
    alone = []
    for body in bodies:
        parts = [[name.removeprefix(body) for name in group if name.startswith(body)] for group in groups]
        alone.append(_names(parts, {name.removeprefix(body): size for name, size in sizes.items()}))
    joined = ["+".join(dict.fromkeys(filter(None, names))) for names in zip(*alone, strict=True)]
    are_unique = len(set(joined)) == len(groups)
    return dict(zip(joined if are_unique else _names(groups, sizes), groups, strict=True))


def _names(groups: list[list[str]], sizes: dict[str, int]) -> list[str]:
    """The name of each group, "" of an empty one; two groups cannot share such a module, so they are unique."""
    owners: dict[str, set[int]] = defaultdict(set)  # dotted prefix -> the groups with a parameter under it
    for index, group in enumerate(groups):
        for name in group:
            for prefix in _prefixes(name):
                owners[prefix].add(index)
    found = []
    for group in groups:
        weights: dict[str, int] = defaultdict(int)
        for name in group:
            outermost = next(prefix for prefix in _prefixes(name) if len(owners[prefix]) == 1)
            weights[outermost] += sizes.get(name, 0)
        found.append(max(weights, key=weights.__getitem__, default=""))
    return found


def _prefixes(name: str) -> Iterator[str]:
    """`a.b.c` -> `a`, `a.b`, `a.b.c`."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        yield ".".join(parts[:depth])


def place_modules(model: nn.Module, stage_of_parameter: dict[str, str]) -> dict[str, frozenset[str]]:
    """Map every module of `model` to the stages its content lies in.

    A module without parameters has the stage of its parent if that has one only. Otherwise it has that of the module
    before it, except dropout, which has that of the module after it: it acts on the training of what it feeds.
    """
    content: dict[str, set[str]] = defaultdict(set)
    for name, stage in stage_of_parameter.items():
        for prefix in ("", *_prefixes(name)):
            content[prefix].add(stage)
    modules = list(model.named_modules(remove_duplicate=False))
    places: dict[str, frozenset[str]] = {}
    previous, waiting = frozenset([next(iter(stage_of_parameter.values()))]), []
    for name, module in modules:
        parent = places.get(name.rpartition(".")[0], frozenset())
        if name in content:
            places[name] = frozenset(content[name])
        elif len(parent) == 1:
            places[name] = parent
        elif isinstance(module, _DropoutNd):
            waiting.append(name)
            continue
        else:
            places[name] = previous
        if len(places[name]) == 1:
            previous = places[name]
            places.update(dict.fromkeys(waiting, previous))
            waiting = []
    return places | dict.fromkeys(waiting, previous)
