"""Pieces of a job, each a program of its own that prints one JSON line."""
