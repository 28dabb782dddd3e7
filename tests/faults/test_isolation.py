"""Started in a folder with modules of a stranger, the command and all its children run none of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from transferkit.zoo import children

NAMES = (
    *("torch", "timm", "numpy", "yaml", "click", "PIL", "cv2", "rich", "safetensors", "torchvision", "albumentations"),
    *("sklearn", "matplotlib", "msgspec", "scipy", "triton", "sitecustomize", "usercustomize", "transferkit", "zoo"),
    *("json", "runpy", "signal", "platform", "ctypes", "subprocess", "multiprocessing", "socket", "tempfile", "cli"),
)
SCRIPT = "import sys\nfrom transferkit.cli.main import main\nif __name__ == '__main__':\n    sys.exit(main())\n"


@pytest.fixture
def hostile(tmp_path):
    """A folder with modules that leave a file when they run, and where that file would be."""
    folder, canary = tmp_path / "hostile", tmp_path / "canary"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"open({str(canary)!r}, 'a').write({name!r} + ' ')\nraise ImportError\n")
    return folder, canary


@pytest.fixture
def installed(hostile, tmp_path):
    """Runs the command as pip installs it, in the hostile folder; its stderr."""
    script = tmp_path / "bin" / "transferkit"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    environment |= {"PYTHONPATH": children.ROOT, "OMP_NUM_THREADS": "1", "TRANSFERKIT_CACHE": str(tmp_path / "cache")}

    def installed(*words: object) -> str:
        command = [sys.executable, str(script), *map(str, words)]
        done = subprocess.run(command, cwd=hostile[0], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not hostile[1].exists(), hostile[1].read_text()
        return done.stderr

    return installed


def test_the_reader_of_a_pickle_runs_nothing_of_the_current_folder(installed, hostile, tmp_path):
    torch.save({"fc.weight": torch.ones(2, 3)}, tmp_path / "weights.pth")
    installed("import", tmp_path / "weights.pth", "-o", tmp_path / "weights.safetensors")
    assert (tmp_path / "weights.safetensors").stat().st_size > 24


@pytest.mark.faults
def test_importing_the_package_runs_nothing_of_the_current_folder(hostile):
    code = "import sys; sys.path.remove(''); import transferkit; transferkit.load; transferkit.finetune"
    environment = os.environ | {"PYTHONPATH": children.ROOT}
    subprocess.run([sys.executable, "-c", code], cwd=hostile[0], env=environment, check=True)
    assert not hostile[1].exists()


def trained_predicted_exported(installed, photos: Path, folder: Path, *more: object) -> None:
    words = ["--backbone", "cifar_resnet", "--strategy", "finetune", "--epochs", 1, "--precision", "fp32", *more]
    installed("finetune", photos, *words, "-o", folder / "run")
    assert (folder / "run" / "metrics.json").is_file()
    installed("predict", folder / "run", photos, "--format", "csv")
    installed("export", folder / "run", "--format", "safetensors", "-o", folder / "model.safetensors")
    assert (folder / "model.safetensors").is_file()


@pytest.mark.faults
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
def test_two_processes_run_nothing_of_the_current_folder(installed, photos, tmp_path):
    trained_predicted_exported(installed, photos, tmp_path, "--processes", 2)


@pytest.mark.slow  # the compiler takes a minute
def test_the_processes_of_the_compiler_run_nothing_of_the_current_folder(installed, photos, tmp_path):
    trained_predicted_exported(installed, photos, tmp_path, "--compile")
