"""transferkit cache"""

from pathlib import Path

import click

from transferkit.cli import options, render
from transferkit.zoo import cache_folder
from transferkit.zoo.cache_folder import KINDS
from transferkit.zoo.disk_cache import DiskCache


@click.group()
def cache() -> None:
    """What is kept from run to run to save time: decoded photos, hashes of files, weights of networks."""


@cache.command()
@options.declared("cache_dir")
@options.json_option
@options.debug_option
def show(cache_dir: str | None, as_json: bool) -> None:
    """Show where the cache is and how much is in it.

    \b
    Examples:
      transferkit cache show
      transferkit cache show --json
    """
    folder = cache_folder.find(cache_dir)
    sizes = {kind: _size(folder, kind) for kind in KINDS}
    if as_json:
        kinds = {kind: {"files": count, "bytes": total} for kind, (count, total) in sizes.items()}
        render.data({"folder": str(folder), "kinds": kinds})
        return
    render.say(f"{folder}")
    click.echo()
    rows = [(kind, f"{count:,}", _words(total), KINDS[kind].title) for kind, (count, total) in sizes.items()]
    total = sum(total for _, total in sizes.values())
    count = sum(count for count, _ in sizes.values())
    render.table(("kind", "files", "size", ""), [*rows, ("in all", f"{count:,}", _words(total), "")])


@cache.command()
@click.argument("kinds", nargs=-1, type=click.Choice(tuple(KINDS)), metavar="[KIND]...")
@options.declared("cache_dir")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.debug_option
def clear(kinds: tuple[str, ...], cache_dir: str | None, yes: bool) -> None:
    """Remove what is in the cache, or only the kinds that `transferkit cache show` lists.

    Only files that transferkit made are removed, and nothing is lost but time: photos are decoded again, networks
    downloaded again.

    \b
    Examples:
      transferkit cache clear
      transferkit cache clear pixels --yes
    """
    folder = cache_folder.find(cache_dir)
    sizes = {kind: _size(folder, kind)[1] for kind in kinds or KINDS}
    found = [f"{kind} ({_words(size)})" for kind, size in sizes.items() if size]
    if not found:
        render.say(f"nothing to remove in {folder}")
        return
    if not yes and not click.confirm(f"Remove {', '.join(found)} in {folder}?"):
        return
    for kind in sizes:
        DiskCache(folder, kind).clear()
    render.say(f"removed {', '.join(found)}")


def _size(folder: Path, kind: str) -> tuple[int, int]:
    """How many files of a kind there are, and their bytes."""
    found = DiskCache(folder, kind).entries()
    return len(found), sum(entry.bytes for entry in found)


def _words(size: int) -> str:
    """A size as a person reads it.

    >>> _words(0), _words(123_456), _words(20_000_000_000)
    ('0.0 MB', '0.1 MB', '20.0 GB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
