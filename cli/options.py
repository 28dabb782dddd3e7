"""Options that several commands share."""

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
quiet_option = click.option("--quiet", is_flag=True, help="Show no progress.")
debug_option = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
cache_option = click.option(
    "--cache-dir",
    metavar="DIR",
    help="Where decoded photos are kept from run to run; in DIR/transferkit if DIR holds other things.  "
    "[default: the user's cache]",
)
device_option = click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, mps.  [default: auto]")
bit_depth_option = click.option(
    "--bit-depth",
    type=click.IntRange(8, 16),
    metavar="N",
    help="Bits of the values in 16-bit files that do not say it, as 12.  [default: those the model remembers, or 16]",
)
