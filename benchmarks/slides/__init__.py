"""The measurements and figures of docs/lecture.md, a file a subject; `benchmarks/lecture.py` runs them."""
