"""transferkit cache"""

import json
import os
import shutil
from pathlib import Path

import click

from transferkit.cli import options, render
from transferkit.zoo import files


@click.group()
def cache() -> None:
    """What is kept from run to run to save time: decoded photos, hashes of files, downloaded networks."""


@cache.command()
@options.cache_option
@options.json_option
@options.debug_option
def show(cache_dir: str | None, as_json: bool) -> None:
    """Show where the cache is and how much is in it.

    \b
    Examples:
      transferkit cache show
      transferkit cache show --json
    """
    folder = _folder(cache_dir)
    sizes = {kind: _size(folder / kind) for kind in files.CACHE_KINDS}
    if as_json:
        kinds = {kind: {"files": count, "bytes": total} for kind, (count, total) in sizes.items()}
        click.echo(json.dumps({"folder": str(folder), "kinds": kinds}))
        return
    click.echo(f"{folder}\n")
    rows = [(kind, f"{count:,}", _words(total), files.CACHE_KINDS[kind]) for kind, (count, total) in sizes.items()]
    total = sum(total for _, total in sizes.values())
    count = sum(count for count, _ in sizes.values())
    render.table(("kind", "files", "size", ""), [*rows, ("in all", f"{count:,}", _words(total), "")])


@cache.command()
@click.argument("kinds", nargs=-1, type=click.Choice(tuple(files.CACHE_KINDS)), metavar="[KIND]...")
@options.cache_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.debug_option
def clear(kinds: tuple[str, ...], cache_dir: str | None, yes: bool) -> None:
    """Remove what is in the cache, or only the kinds that `transferkit cache show` lists.

    Nothing is lost but time: photos are decoded again, networks downloaded again.

    \b
    Examples:
      transferkit cache clear
      transferkit cache clear pixels --yes
    """
    folder = _folder(cache_dir)
    sizes = {kind: _size(folder / kind)[1] for kind in kinds or files.CACHE_KINDS}
    found = [f"{kind} ({_words(size)})" for kind, size in sizes.items() if size]
    if not found:
        click.echo(f"nothing to remove in {folder}")
        return
    if not yes and not click.confirm(f"Remove {', '.join(found)} in {folder}?"):
        return
    for kind in sizes:
        with files.storage_errors(folder / kind):
            if (folder / kind).exists():
                shutil.rmtree(folder / kind)
    click.echo(f"removed {', '.join(found)}")


def _folder(cache_dir: str | None) -> Path:
    return Path(cache_dir) if cache_dir else files.cache_folder()


def _size(folder: Path) -> tuple[int, int]:
    """How many files lie in a folder, and their bytes."""
    sizes = []
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                sizes.append(os.stat(os.path.join(parent, name)).st_size)
            except OSError:  # a run beside this command removes and writes
                continue
    return len(sizes), sum(sizes)


def _words(size: int) -> str:
    """A size as a person reads it.

    >>> _words(0), _words(123_456), _words(20_000_000_000)
    ('0.0 MB', '0.1 MB', '20.0 GB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
