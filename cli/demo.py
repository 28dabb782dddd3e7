"""transferkit demo"""

import shlex
from pathlib import Path

import click

from transferkit.cli import options


@click.command()
@click.option("-o", "--out", default="transferkit-demo", show_default=True, metavar="FOLDER")
@options.debug_option
@click.pass_context
def demo(context: click.Context, out: str) -> None:
    """Fine-tune an embedded network on scikit-learn's handwritten digits: offline, in under a minute.

    Writes the digits as PNG files to FOLDER/digits and then runs the command that it prints.

    \b
    Example:
      transferkit demo
    """
    from transferkit.cli.finetune import finetune
    from transferkit.data.digits import write_digits

    folder = Path(out)
    count = write_digits(folder / "digits")
    click.echo(f"{count} images of handwritten digits are in {folder / 'digits'}")
    arguments = [str(folder / "digits"), "-o", str(folder / "run"), "--overwrite", "--backbone", "cifar_resnet"]
    arguments += ["--strategy", "lp-ft", "--epochs", "4", "--augment", "none"]  # a mirrored digit is another sign
    click.echo(f"\n$ transferkit finetune {shlex.join(arguments)}")
    finetune.main(arguments, prog_name="transferkit finetune", standalone_mode=False)
