"""Where mutants are made, and the tests that are to notice them: the quick ones that know the file best."""

BOUNDARY = "parts or frozen_stages or folded or modes or memory or room or saving"
ENSEMBLE = "plain_timm or one_pass or pass_of or passes_of or stacked or memory_once"

PLACES: dict[str, dict[str, list[str]]] = {  # what is given to pytest, by file
    "metrics": {"transferkit/metrics.py": ["tests/test_metrics.py"]},
    "split": {"transferkit/data/split.py": ["tests/data/test_split.py"]},
    "files": {"zoo/files.py": ["tests/zoo/test_writing.py", "tests/zoo/test_files.py"]},
    "model": {
        "transferkit/model/boundary.py": ["tests/model/test_boundary.py", "-k", BOUNDARY],
        "transferkit/model/ensemble.py": ["tests/ship/test_ensemble.py", "-k", ENSEMBLE],
        "transferkit/model/feature_cache.py": ["tests/model/test_feature_cache.py"],
        "transferkit/model/features.py": ["tests/model/test_features.py"],
        "transferkit/model/freezer.py": ["tests/model/test_freezer.py"],
        "transferkit/model/head.py": ["tests/model/test_freezer.py"],
        "transferkit/model/network_cache.py": ["tests/model/test_network_cache.py"],
        "transferkit/model/precision.py": ["tests/model/test_precision.py"],
        "transferkit/model/timings.py": ["tests/model/test_precision.py", "tests/model/test_boundary.py", "-k", "time"],
    },
}
