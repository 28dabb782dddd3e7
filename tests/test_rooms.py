"""Imports go one way: a file imports only from rooms below its own."""

import ast
import configparser
import functools
import pkgutil
from pathlib import Path

import pytest

import transferkit
from transferkit.tasks import SINGLE_LABEL, TABLE, MultiLabel
from transferkit.train import strategies

ROOT = Path(__file__).resolve().parents[1]
FLOORS = [
    "zoo.ground",
    "ground",
    "tasks",
    "trust",
    "data",
    "model",
    "train",
    "audit",
    "config",
    "caches",
    "network",
    "preparation",
    "policy",
    "candidates",
    "ranking",
    "inspection",
    "holdout",
    "first_batches",
    "forecast",
    "budget",
    "prepare",
    "baselines",
    "evaluate",
    "ship",
    "auditing",
    "fitting",
    "flow",
    "pretraining",
    "cli",
]  # each may import those before it
GROUND_FILES = {
    "determinism",
    "seeds",
    "durations",
    "scratch",
    "option",
    "options",
    "choices",
    "messages",
    "signature",
    "kinds",
    "config_file",
    "augment_file",
    "augment_steps",
    "presets",
    "metrics",
    "paired",
    "ranks",
    "rendezvous",
    "cores",
    "kernels",
    "runtime",
    "progress",
    "live",
    "lock",
    "_checkout",
}
PUBLIC_OF_STRATEGIES = {f"transferkit.train.strategies.{name}" for name in strategies.__all__}
EVERYWHERE = {
    f"transferkit.zoo.{name}"
    for name in (
        "errors",
        "files",
        "cache_folder",
        "disk_cache",
        "card",
        "text",
        "removal",
        "children",
        "limits",
        "stops",
        "hashes",
        "schema",
        "sources",  # the table alone, for the names that a backbone may have
        "header",
    )
}


def sources() -> list[Path]:
    return [path for room in ("zoo", "transferkit", "cli") for path in sorted((ROOT / room).rglob("*.py"))]


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


@functools.cache
def imports(path: Path) -> list[str]:
    found = []
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += names if set(names) <= EVERYWHERE else [node.module, *names]
    return found


def floor(module: str) -> str | None:
    """The floor of a module of ours; None for everything else."""
    parts = module.split(".")
    if parts[0] != "transferkit" or len(parts) == 1:
        return None
    if parts[1] == "zoo":
        return "zoo.ground" if ".".join(parts[:3]) in EVERYWHERE else "zoo"
    if parts[1] in GROUND_FILES or parts[1].startswith("__"):
        return "ground"
    return parts[1] if parts[1] in FLOORS else None


def own_module(path: Path) -> str:
    relative = path.relative_to(ROOT).with_suffix("")
    name = ".".join(relative.parts)
    return name if name.startswith("transferkit") else f"transferkit.{name}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_from_rooms_below_its_own(path):
    own = floor(own_module(path)) or "flow"  # transferkit/__init__.py and __main__.py stand above all
    for module in imports(path):
        assert module.split(".")[0] not in ("zoo", "cli"), f"{path} imports {module}: write transferkit.{module}"
        below = floor(module)
        if below is None or path.name in ("__init__.py", "__main__.py"):
            continue
        if own in ("zoo", "zoo.ground"):
            assert below in ("zoo", "zoo.ground"), f"the zoo imports {module}"
        elif below == "zoo":
            assert own_module(path) == "transferkit.model.build" or own == "cli", (
                f"{path} reaches the zoo past model/build.py"
            )
        else:
            assert FLOORS.index(below) <= FLOORS.index(own), f"{path} imports {module} from a floor above"


def test_every_file_stands_on_a_floor():
    above_all = {"transferkit.__init__", "transferkit.__main__"}
    modules = {own_module(path) for path in sources()} - above_all
    assert not [module for module in sorted(modules) if floor(module) is None]
    assert not GROUND_FILES - {module.split(".")[1] for module in modules}  # no name without a file
    assert not EVERYWHERE - {name.removesuffix(".__init__") for name in modules}


def test_pretraining_takes_nothing_of_a_run_from_above_training():
    for path in sorted((ROOT / "transferkit" / "pretraining").rglob("*.py")):
        floors = {floor(module) for module in imports(path)} - {None, "pretraining"}
        assert floors <= set(FLOORS[: FLOORS.index("train") + 1]), path


def test_rooms_import_each_other_without_a_circle():
    graph = {own_module(path): set(imports(path)) for path in sources() if path.name != "__init__.py"}
    done, open_now = set(), []

    def visit(module):
        assert module not in open_now, f"circle: {' -> '.join([*open_now, module])}"
        if module in done:
            return
        open_now.append(module)
        for target in graph[module] & graph.keys():
            visit(target)
        open_now.pop()
        done.add(module)

    for module in graph:
        visit(module)


def test_no_file_is_longer_than_250_lines_and_no_function_than_60():
    for path in sources():
        text = path.read_text()
        assert len(text.splitlines()) <= 250, path
        for node in nodes_of(path):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"


def test_no_function_takes_more_than_five_arguments():
    """But commands, whose arguments are options."""
    for path in sources():
        for node in nodes_of(path):
            if not isinstance(node, ast.FunctionDef):
                continue
            if any("click.command" in ast.unparse(each) for each in node.decorator_list):
                continue
            every = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            assert len([name for name in every if name not in ("self", "cls")]) <= 5, f"{path}: {node.name}"


def test_no_file_outside_the_strategies_names_one():
    """Whoever needs to know asks the strategy; commands may name one on a command line, as a user does."""
    names = {strategy.name for strategy in strategies.EVERY}
    for path in sources():
        if "strategies" in path.parts or path.name == "demo.py":
            continue
        compared = [ast.unparse(node) for node in nodes_of(path) if isinstance(node, ast.Compare)]
        assert not [each for each in compared if "strategy" in each and any(name in each for name in names)], path
        imported = [module for module in imports(path) if module.startswith("transferkit.train.strategies.")]
        assert set(imported) <= PUBLIC_OF_STRATEGIES, path


def test_no_file_outside_the_tasks_tests_for_one():
    """What differs between tasks is asked of the task; or it stands in a table by its name."""
    classes = {type(task).__name__ for task in (SINGLE_LABEL, MultiLabel())}
    for path in sources():
        if "tasks" in path.parts:
            continue
        nodes = nodes_of(path)
        tests = [ast.unparse(node) for node in nodes if isinstance(node, (ast.Compare, ast.Match))]
        tests += [
            ast.unparse(node) for node in nodes if isinstance(node, ast.Call) and "isinstance" in ast.unparse(node.func)
        ]
        assert not [each for each in tests if any(name in each for name in (*TABLE, *classes))], path


def test_a_wheel_has_every_package():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = config["options"]["packages"].split()
    assert sorted(listed) == sorted({own_module(path.parent / "__init__.py").rpartition(".")[0] for path in sources()})


def test_a_wheel_has_every_file_that_is_no_python():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = config["options.package_data"]
    for folder in {path.parent for path in sources()}:
        package = own_module(folder / "__init__.py").rpartition(".")[0]
        named = {
            path for pattern in patterns.get(package, "").split(",") if pattern for path in folder.glob(pattern.strip())
        }
        inside = {path for path in folder.iterdir() if path.is_file() and path.suffix not in (".py", ".pyc")}
        assert inside <= named, package


def test_packages_can_be_walked_and_end():
    names = [module.name for module in pkgutil.walk_packages(transferkit.__path__, "transferkit.")]
    assert "transferkit.flow" in names
    assert not any("transferkit.transferkit" in name for name in names)


def test_pickles_and_code_from_strings_appear_nowhere():
    banned = (
        "weights_only=False",
        "load_state_dict_from_url",
        "yaml.load(",
        "trust_remote_code",
        "eval(",
        "extractall",
        "import pickle",
    )
    for path in sources():
        text = path.read_text().replace(".eval(", "").replace("_eval(", "")
        assert not [word for word in banned if word in text], path
