"""The test part that is set aside has its share of each class, divides nothing, and no fit sees it."""

import numpy as np
import pytest

import transferkit as tk
from transferkit.data import folder
from transferkit.prepare import found
from transferkit.progress import Progress
from transferkit.zoo.errors import UsageError


def set_aside(data, **options):
    from transferkit import holdout

    config, listing = found(str(data), progress=Progress(), **options)
    return holdout.set_aside(config, listing, Progress())


@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_stratified_whole_and_a_function_of_the_seed(album, seed):
    listing = set_aside(album, test_fraction=0.25, seed=seed)
    is_test = listing.parts == "test"
    counts = np.bincount(listing.labels[is_test], minlength=3)
    assert (np.abs(counts - 0.25 * np.bincount(listing.labels)) <= 1.5).all()
    number = np.array([path.name[:2] for path in listing.paths])
    assert all(len(set(is_test[number == each])) == 1 for each in set(number))
    assert (set_aside(album, test_fraction=0.25, seed=seed).parts == listing.parts).all()
    assert (set_aside(album, test_fraction=0.25, seed=seed + 7).parts != listing.parts).any()


def test_groups_are_whole(digit_folder):
    listing = set_aside(digit_folder, test_fraction=0.3, group_by=r"/(\d\d)")
    assert all(len(set(listing.parts[listing.groups == name])) == 1 for name in set(listing.groups))
    assert {*listing.parts} == {"", "test"}


def test_a_run_judges_by_it_and_records_it(digit_folder, tmp_path):
    fast = {"backbone": "cifar_resnet", "strategy": "probe", "augment": "none", "l2": 0.01, "precision": "fp32"}
    run = tk.finetune(digit_folder, out=tmp_path / "run", test_fraction=0.25, **fast)
    listing = folder.read(run.folder / "manifest.csv")
    assert run.metrics["test"]["n"] == np.count_nonzero(listing.parts == "test") == 18
    assert {*listing.parts} == {"train", "val", "test"}
    expected = set_aside(digit_folder, test_fraction=0.25)
    assert {path.as_posix() for path, part in zip(listing.paths, listing.parts) if part == "test"} == {
        path.as_posix() for path, part in zip(expected.paths, expected.parts) if part == "test"
    }


def test_data_with_a_test_part_is_refused(digit_folder, tmp_path):
    (tmp_path / "data.csv").write_text(
        "path,label,split\n"
        + "".join(
            f"{path},{path.parent.name},{'test' if path.name > '015' else ''}\n" for path in digit_folder.rglob("*.png")
        )
    )
    with pytest.raises(UsageError, match="has one; drop the option"):
        tk.finetune(tmp_path / "data.csv", test_fraction=0.2, backbone="cifar_resnet")
