"""The network: build, head, freezer, features."""
