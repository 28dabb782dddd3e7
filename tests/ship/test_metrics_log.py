import json

import pytest

from transferkit.ship.metrics_log import MetricsLog
from transferkit.zoo.errors import StorageError


def test_lines_that_found_no_room_are_written_with_the_next_that_does(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    log = MetricsLog(folder / "metrics.jsonl")
    log.start()
    log.add({"epoch": 0})
    folder.rename(tmp_path / "away")
    folder.write_text("no folder")
    log.add({"epoch": 1})
    with pytest.raises(StorageError):
        log.finish()
    folder.unlink()
    (tmp_path / "away").rename(folder)
    log.add({"epoch": 2})
    log.finish()
    assert [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()] == [
        {"epoch": 0}, {"epoch": 1}, {"epoch": 2},
    ]  # fmt: skip
