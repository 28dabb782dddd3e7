"""What could run foreign code stands nowhere in the product, one named place aside. SECURITY.md promises it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PICKLE_READER = "zoo/weights.py"  # its child process alone calls torch.load, with weights_only=True
OWN_BYTES = "transferkit/ship/exporters/torch_export.py"  # reads back, for the gate, what it has just made in memory

MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib", "runpy", "code"}
NAMES = {"eval", "exec", "compile", "__import__"}  # as plain names: model.eval() and torch.compile() are others
CALLS = {  # by the end of their dotted name
    "load_state_dict_from_url": "reads a pickle with weights_only=False",
    "yaml.load": "makes any object: yaml.safe_load",
    "yaml.unsafe_load": "makes any object: yaml.safe_load",
    "yaml.full_load": "makes more than data: yaml.safe_load",
    "extractall": "writes wherever an archive says",
    "unpack_archive": "writes wherever an archive says",
    "os.system": "is a shell",
    "os.popen": "is a shell",
    "subprocess.getoutput": "is a shell",
    "torch.hub.load": "runs code of a repository",
    "jit.load": "holds code",
    "export.load": "can fall back to a pickle",
}
VALUES = {  # keyword arguments that may not have this value
    "weights_only": False,
    "allow_pickle": True,
    "shell": True,
    "trust_remote_code": True,
    "check_hash": False,
}
ALLOWED = {(OWN_BYTES, "export.load")}


def dotted(node: ast.expr) -> str:
    """The name that is called: `torch.hub.load`; what stands before a dot that is no name is left out."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return ".".join(filter(None, (dotted(node.value), node.attr)))
    return ""


def faults(text: str, place: str) -> list[str]:
    """What a file does that could run foreign code, each with its line."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [(node.lineno, f"imports {name}") for name in modules if name.split(".")[0] in MODULES]
            names = [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            found += [
                (node.lineno, f"{name} {why}")
                for name in names
                for end, why in CALLS.items()
                if f".{name}".endswith(f".{end}")
            ]
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if isinstance(node.func, ast.Name) and name in NAMES:
            found.append((node.lineno, f"calls {name}"))
        for end, why in CALLS.items():
            if f".{name}".endswith(f".{end}") and (place, end) not in ALLOWED:
                found.append((node.lineno, f"{name} {why}"))
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        for keyword, value in VALUES.items():
            if keyword in given and getattr(given[keyword], "value", None) is value:
                found.append((node.lineno, f"{keyword}={value}"))
        if name == "torch.load":
            is_safe = getattr(given.get("weights_only"), "value", None) is True
            if place != PICKLE_READER or not is_safe:
                found.append((node.lineno, f"torch.load is for {PICKLE_READER} alone, with weights_only=True"))
    return [f"{place}:{line}: {what}" for line, what in found]


def test_no_file_can_run_foreign_code():
    paths = [path for room in ("zoo", "transferkit", "cli") for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(paths) > 100
    assert [
        fault for path in paths for fault in faults(path.read_text("utf-8"), path.relative_to(ROOT).as_posix())
    ] == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from pickle import loads",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=True)",  # right, but elsewhere than in its one place
        "read(path, weights_only=False)",
        "from torch.hub import load_state_dict_from_url",
        "torch.hub.load_state_dict_from_url(url)",
        "import yaml\nyaml.load(text)",
        "eval(text)",
        "exec(text)",
        "tar.extractall(folder)",
        "subprocess.run(command, shell=True)",
        "np.load(path, allow_pickle=True)",
        "torch.export.load(path)",
        "open_archive().extractall()",
    ],
)
def test_each_of_them_is_found(text):
    assert faults(text, "transferkit/some.py")


def test_what_only_looks_like_it_is_not():
    assert faults("model.eval()\ntorch.compile(model)\nyaml.safe_load(text)\nre.compile(text)", "zoo/some.py") == []


def test_the_one_place_may_read_a_pickle_only_as_plain_tensors():
    assert faults("import torch\ntorch.load(path, weights_only=True)", PICKLE_READER) == []
    assert faults("import torch\ntorch.load(path)", PICKLE_READER)
