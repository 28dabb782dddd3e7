"""What 8-bit integers cost and give: accuracy, milliseconds a photo and megabytes beside the graph of floats.

python benchmarks/int8.py RUN... [--threads 1]

Both graphs are written with --core and run in onnxruntime in turn, one view at a time; the times are medians. One JSON
line a run.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

from transferkit.ship.classifier import load
from transferkit.ship.exporters.sample import Labelled

ROUNDS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    for run in given.runs:
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps({"run": run.name} | beside(run, Path(scratch), threads=given.threads)), flush=True)


def beside(run: Path, scratch: Path, *, threads: int) -> dict:
    """Both graphs of a run."""
    classifier = load(run, device="cpu")
    photos = Labelled.of_run(run)
    small = classifier.export("onnx", scratch / "int8.onnx", images=photos.judged.sources[:16], core=True, int8=True)
    large = classifier.export("onnx", scratch / "float.onnx", images=photos.judged.sources[:16], core=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    sessions = [onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"]) for path in (large, small)]
    view = photos.judged.views(classifier.passes[0].preprocessing)[:1].numpy()
    times = np.array([[timed(session, view) for session in sessions] for _ in range(ROUNDS)])
    agreed = json.loads(sessions[1].get_modelmeta().custom_metadata_map["compared_with_transferkit"])
    milliseconds = np.median(times, axis=0) * 1000
    return {
        "photos": len(photos.judged),
        "accuracy": round(agreed["accuracy"], 4),
        "accuracy of floats": round(agreed["accuracy_float"], 4),
        "milliseconds": round(float(milliseconds[1]), 2),
        "milliseconds of floats": round(float(milliseconds[0]), 2),
        "times as fast": round(float(np.median(times[:, 0] / times[:, 1])), 2),
        "megabytes": round(small.stat().st_size / 1e6, 1),
        "megabytes of floats": round(large.stat().st_size / 1e6, 1),
    }


def timed(session: onnxruntime.InferenceSession, view: np.ndarray) -> float:
    begun = time.perf_counter()
    session.run(None, {"pixels": view})
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
