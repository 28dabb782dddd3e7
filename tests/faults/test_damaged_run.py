"""Whatever is done to the files of a run, `report` writes a page or says in one line which file is damaged."""

import copy
import json
import random
import shutil
from html.parser import HTMLParser

import pytest
from PIL import Image

import transferkit as tk
from transferkit.ship.record import write_report
from transferkit.zoo.errors import ModelFileError, StorageError, TransferkitError

READ = ("run.json", "metrics.json", "metrics.jsonl", "predictions.csv", "quarantine.csv", "heat_maps.json")
ODD = (None, True, "", "x", [], {}, -1, 0, 1.5, 10**30, 1e308, float("nan"), float("inf"), [[]], [None], {"a": 1})
CAMPAIGN = [pytest.param(6, 1), pytest.param(150, 2, marks=pytest.mark.faults)]


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    data, out = shutil.copytree(photos, folder / "photos"), folder / "r"
    (data / "digit 0" / "page.png").write_text("<html>")
    options = {"backbone": "timm:test_resnet", "weights": "none", "image_size": 32, "batch_size": 8}
    return tk.finetune(data, out=str(out), strategy="lp-ft", epochs=2, snapshots=2, **options).folder


def places(value, path=()):
    """The path to everything inside a JSON value."""
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(child, (dict, list)):
            yield from places(child, (*path, key))


def with_odd_value(text: str, chance: random.Random) -> bytes:
    """JSON in which something inside is another thing, or missing."""
    value = copy.deepcopy(json.loads(text))
    *above, last = chance.choice([*places(value)])
    parent = value
    for key in above:
        parent = parent[key]
    if chance.random() < 0.2:
        del parent[last]
    else:
        parent[last] = chance.choice(ODD)
    return json.dumps(value).encode()


def damaged(name: str, data: bytes, chance: random.Random) -> bytes:
    """The contents of a file with one thing wrong."""
    kind = chance.choice(("cut", "flip", "line", "value", "value", "value"))
    if kind == "value" and name.endswith(".json"):
        return with_odd_value(data.decode(), chance)
    if kind == "value" and name.endswith(".jsonl"):
        lines = data.decode().splitlines()
        number = chance.randrange(len(lines))
        return b"\n".join([*(line.encode() for line in lines[:number]), with_odd_value(lines[number], chance)])
    if kind == "cut":
        return data[: chance.randrange(len(data))]
    if kind == "line":
        return data + chance.choice((b"\x00", b"\xff\xfe,", b'"', b"a,b,c\r\n", b"{}\n", b"null\n", b"," * 200))
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


@pytest.mark.parametrize(("count", "seed"), CAMPAIGN)
def test_a_damaged_run_is_reported_or_refused_in_a_line(run, tmp_path, figure, count, seed):
    chance, refused, wrong = random.Random(seed), 0, []
    shutil.copytree(run, tmp_path / "r", ignore=shutil.ignore_patterns("model"))
    for number in range(count):
        name = chance.choice(READ)
        (tmp_path / "r" / name).write_bytes(damaged(name, (run / name).read_bytes(), chance))
        try:
            page = write_report(tmp_path / "r").read_text(encoding="utf-8")
        except TransferkitError as error:
            refused += 1
            bad = error.exit_code not in (2, 4, 5) or "\n" in str(error)
            wrong += [(seed, number, name, str(error))] if bad else []
        except Exception as error:
            raise AssertionError((seed, number, name, (tmp_path / "r" / name).read_bytes()[-3000:])) from error
        else:
            HTMLParser().feed(page)
            with Image.open(tmp_path / "r" / "curves.png") as picture:
                picture.verify()
        shutil.copy(run / name, tmp_path / "r" / name)
    assert not wrong
    figure(f"report on a damaged run: 0 of {count} are bugs, {refused} refused in a line")


@pytest.mark.parametrize("name", READ)
def test_a_file_of_a_run_that_cannot_be_read_is_a_storage_error(run, tmp_path, name):
    shutil.copytree(run, tmp_path / "r", ignore=shutil.ignore_patterns("model", name))
    (tmp_path / "r" / name).mkdir()
    with pytest.raises(StorageError, match=f"cannot read .*{name}"):
        write_report(tmp_path / "r")


def test_a_file_name_that_is_no_text_does_not_make_a_run_unreadable(run, tmp_path):
    shutil.copytree(run, tmp_path / "r", ignore=shutil.ignore_patterns("model"))
    record = json.loads((run / "run.json").read_text())
    record["data"]["ignored"] = [["caf\udce9.txt", "not an image"]]
    (tmp_path / "r" / "run.json").write_bytes(json.dumps(record, ensure_ascii=False).encode("utf-8", "surrogateescape"))
    assert ">caf\\" in write_report(tmp_path / "r").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "metrics.jsonl"])
def test_a_key_that_is_no_text_is_a_damage(run, tmp_path, name):
    shutil.copytree(run, tmp_path / "r", ignore=shutil.ignore_patterns("model"))
    damaged = (run / name).read_bytes().replace(b'"accuracy"', b'"accu\xf2acy"', 1).replace(b'"seed"', b'"se\xf2ed"', 1)
    (tmp_path / "r" / name).write_bytes(damaged)
    with pytest.raises(ModelFileError, match=f"{name} is damaged"):
        write_report(tmp_path / "r")


def test_scores_without_the_interval_of_unseen_images_are_a_damage(run, tmp_path):
    shutil.copytree(run, tmp_path / "r", ignore=shutil.ignore_patterns("model"))
    scores = json.loads((run / "metrics.json").read_text())
    scores[("test" if scores["test"] else "val")] |= {"seen": 1, "unseen": {"accuracy": 0.5, "n": 2}}
    (tmp_path / "r" / "metrics.json").write_text(json.dumps(scores))
    with pytest.raises(ModelFileError, match=r"unseen: Object missing required field `interval`"):
        write_report(tmp_path / "r")


def test_a_huge_file_is_refused_before_it_is_read(run, tmp_path):
    shutil.copytree(run, tmp_path / "r", ignore=shutil.ignore_patterns("model"))
    with open(tmp_path / "r" / "run.json", "ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelFileError, match="larger than the 1024 MB"):
        write_report(tmp_path / "r")
