"""How others do the same work, each a program of its own that imports nothing of ours and prints one JSON line."""
