"""transferkit push"""

from pathlib import Path

import click

from transferkit.cli import options, render


@click.command()
@click.argument("model", metavar="RUN_OR_MODEL", shell_complete=options.paths)
@click.argument("repository", metavar="ORG/NAME")
@click.option("--private", is_flag=True, help="Let nobody see it but who belongs to ORG.")
@click.option("-o", "--out", metavar="FOLDER", help="Write there what would be uploaded, and upload nothing.")
@options.debug_option
def push(model: str, repository: str, private: bool, out: str | None) -> None:
    """Upload a classifier to the Hugging Face hub.

    Weights, configuration and a model card with scores are what is uploaded: no photo, and no path of this machine.
    timm (hf-hub:ORG/NAME), transformers (pipeline) and every command here (hf-hub:ORG/NAME) open it. The token is
    that of `hf auth login`, or HF_TOKEN.

    \b
    Examples:
      transferkit push runs/photos-1 my-name/photos --private
      transferkit push runs/photos-1 my-name/photos -o looked_at_first
      transferkit predict hf-hub:my-name/photos new.jpg
    """
    from transferkit.ship import hub

    render.say(hub.push(model, repository, private=private, out=Path(out).expanduser() if out else None))
    if not out:
        render.say(f"opened by: transferkit predict hf-hub:{repository} PHOTO...", err=True)
