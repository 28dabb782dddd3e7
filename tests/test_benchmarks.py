"""What the benchmarks say is what happened: seconds, memory, ratios, tables; and each of them starts."""

import ast
import json
import runpy
import subprocess
import sys
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import huggingface_hub
import pytest
from PIL import Image

from benchmarks import frozen, peers_table
from benchmarks.harness import claim, measure, photos, results, work
from benchmarks.harness.measure import FRESH, Command, CommandError, Sample
from benchmarks.table import FOLDER, SCRIPTS
from transferkit.cli.render import PlainProgress

MB = 1_000_000


def python(code: str, **environment: str) -> Command:
    return Command(name="code", arguments=[sys.executable, "-c", code], environment=environment)


def in_a_child(code: str) -> Command:
    return python(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)")


def sample(seconds: float) -> Sample:
    return Sample(seconds=seconds, cpu_seconds=0, peak_mb=0, output="", errors="")


def test_sleep_counts_as_seconds_and_not_as_cpu():
    found = measure.run(Command(name="sleep", arguments=["sleep", "0.4"]))
    assert 0.4 <= found.seconds < 4
    assert found.cpu_seconds < 0.1


def test_work_counts_as_cpu_even_of_a_child():
    found = measure.run(in_a_child("import time\nwhile time.process_time() < 0.3: pass"))
    assert 0.3 <= found.cpu_seconds < 2


def test_peak_memory_is_that_of_the_command_and_not_of_who_measures_it():
    assert measure.run(python("pass")).peak_mb < 50  # this process has torch and takes more
    found = measure.run(python(f"x = bytearray(b'x') * {200 * MB}"))
    assert 200 < found.peak_mb < 250


def test_peak_memory_is_that_of_the_largest_process_of_the_command():
    assert measure.run(in_a_child(f"x = bytearray(b'x') * {100 * MB}")).peak_mb > 100


def test_commands_take_turns_and_every_other_round_goes_backwards(tmp_path):
    file = tmp_path / "order"
    commands = [Command(name=name, arguments=["sh", "-c", f"printf {name} >> {file}"]) for name in "ab"]
    samples = measure.alternate(commands, repeats=3)
    assert file.read_text() == "abbaab"
    assert {name: len(found) for name, found in samples.items()} == {"a": 3, "b": 3}


def test_each_run_has_a_fresh_folder_that_is_gone_afterwards():
    code = "import os; folder = os.environ['HERE']; print(os.listdir(folder)); open(folder + '/x', 'w'); print(folder)"
    runs = [measure.run(python(code, HERE=FRESH)).output.split() for _ in range(2)]
    assert [listed for listed, _ in runs] == ["[]", "[]"]
    assert not any(Path(folder).exists() for _, folder in runs)


def test_a_command_that_fails_says_its_last_words():
    with pytest.raises(CommandError, match="code failed: no photos"):
        measure.run(python("import sys; sys.exit('no photos')"))


def test_a_ratio_is_one_of_medians_with_the_extremes_of_single_rounds():
    slow, fast = [sample(s) for s in (10, 30, 14)], [sample(s) for s in (2, 3, 7)]
    found = measure.ratio(slow, fast)
    assert (found.median, found.low, found.high) == (14 / 3, 2, 10)


def test_what_is_worked_out_for_more_epochs_is_what_more_epochs_take():
    ran = Sample(seconds=10, cpu_seconds=0, peak_mb=0, output='{"epoch_seconds": [4, 2, 2]}', errors="")
    assert frozen.seconds_of(ran, 10) == 10 + 7 * 2


def test_a_cell_of_the_peers_has_means_wherever_the_accuracy_is_told():
    ours = replace(sample(10), output='fitting\n{"test": {"accuracy": 0.9}, "accuracy": 0.1}', cpu_seconds=4)
    theirs = replace(sample(30), output='{"accuracy": 0.8, "n": 5}', cpu_seconds=8)
    assert peers_table.cell([ours, theirs]) == "0.8500, 20 s, 6 s CPU"
    assert peers_table.cell([ours, None]) == "failed"


def test_weights_of_a_folder_are_found_in_the_cache_of_a_hub(tmp_path):
    weights = tmp_path / "mine"
    weights.mkdir()
    (weights / "model.safetensors").write_text("weights")
    peers_table.write_hub(tmp_path, weights)
    found = huggingface_hub.try_to_load_from_cache("weights/given", "model.safetensors", cache_dir=tmp_path / "hub")
    assert Path(str(found)).read_text() == "weights"


def test_our_phases_are_read_as_our_command_prints_them(capsys):
    progress = PlainProgress()
    for phase, images in (("reading, features", 8), ("fine-tuning", 5), ("refitting", 7)):
        progress.start(phase, images)
        progress.advance(images)
        progress.finish()
    found = Sample(seconds=1, cpu_seconds=1, peak_mb=1, output="", errors=capsys.readouterr().err)
    assert [(name, images) for name, images, _ in work.phases(found)] == [
        ("reading, features", 8), ("fine-tuning", 5), ("refitting", 7)
    ]  # fmt: skip
    assert [images for images, _ in work.trained(found)] == [5, 7]


def test_generated_photos_are_as_heavy_as_photos(tmp_path):
    photos.write_photos(tmp_path / "photos", train=5, val=5)
    files = sorted((tmp_path / "photos").rglob("*.jpg"))
    assert {str(path.parent.relative_to(tmp_path / "photos")) for path in files} == {
        f"{part}/class {label}" for part in ("train", "val") for label in range(5)
    }
    for path in files:
        with Image.open(path) as photo:
            assert photo.size == (500, 375)
        assert 55_000 < path.stat().st_size < 75_000
    assert len({path.read_bytes() for path in files}) == 10


def test_every_script_is_in_the_table():
    there = {path.stem for path in FOLDER.glob("*.py")} - {"__main__", "table"}
    names = [script.name for script in SCRIPTS]
    assert there <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("script", [script for script in SCRIPTS if script.path.is_file()], ids=attrgetter("name"))
def test_a_script_shows_its_help(script, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(FOLDER))  # as when it is run by its path
    monkeypatch.setattr(sys, "argv", [str(script.path), "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script.path), run_name="__main__")
    assert end.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert " ".join(ast.get_docstring(ast.parse(script.path.read_text())).splitlines()[0].split()) in said


@pytest.mark.parametrize("peer", sorted((FOLDER / "peers").glob("[!_]*.py")), ids=attrgetter("stem"))
def test_a_peer_imports_nothing_of_ours(peer):
    nodes = list(ast.walk(ast.parse(peer.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert names
    assert not {name.split(".")[0] for name in names} & {"transferkit", "benchmarks", "zoo", "cli"}


def test_a_quick_run_prints_a_line_and_writes_its_table(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "listing", "folders", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=measure.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = {line["benchmark"]: line for line in map(json.loads, done.stdout.splitlines())}
    measured = lines["listing"]
    assert measured["machine"]["cores"] >= 1
    assert "torch" in measured["machine"]["versions"]
    assert measured["figures"][0]["goal"] == "<= 8"
    assert measured["figures"][0]["met"] is True
    page = (tmp_path / "RESULTS.md").read_text()
    assert f"| {measured['figures'][0]['what']} | <= 8 | {measured['figures'][0]['value']:g} s |" in page
    assert "python benchmarks/folders.py FOLDER..." in page


def test_a_goal_that_is_missed_is_said_and_other_results_stay(tmp_path):
    line = {"figures": [claim.figure("theirs / ours", 1.9, goal=claim.at_least(2.5))]}
    results.keep(tmp_path, "first", {"claim": "First.", "command": "run it", "lines": [line]})
    results.keep(tmp_path, "second", {"claim": "Second.", "command": "run it", "lines": [{"rows": 10, "seconds": 0.5}]})
    page = (tmp_path / "RESULTS.md").read_text()
    assert "| theirs / ours | >= 2.5 | 1.9 |  | no |" in page
    assert "| rows | seconds |\n|---|---|\n| 10 | 0.5 |" in page
