"""Where mutants are made, and the tests that are to notice them."""

PLACES: dict[str, dict[str, list[str]]] = {
    "metrics": {"transferkit/metrics.py": ["tests/test_metrics.py"]},
    "split": {"transferkit/data/split.py": ["tests/data/test_split.py"]},
    "files": {"zoo/files.py": ["tests/zoo/test_files.py"]},
}
