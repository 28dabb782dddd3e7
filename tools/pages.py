"""Pages of the site that lie elsewhere in the repository, and links between all of them; hooks of mkdocs.yml."""

import json
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs"
PAGES = {
    "README.md": "index.md",
    "benchmarks/RESULTS.md": "results.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "docs/tutorial.ipynb": "tutorial.md",
}
LINK = re.compile(r"(!?)\[([^\]\[]*)\]\(([^)\s:#]+)(#[^)\s]*)?\)")  # to a file, not to the web


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere; the notebook as text with its code."""
    for source, page in PAGES.items():
        path = ROOT / source
        text = notebook(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **kwargs) -> str:
    """The text of a page with links as the site has them; files that are no page of it are named, not linked."""
    of_pages = {to: source for source, to in PAGES.items()}
    own = of_pages.get(page.file.src_uri, f"{DOCS}/{page.file.src_uri}")

    def linked(found: re.Match[str]) -> str:
        mark, words, target, anchor = found.groups()
        place = posixpath.normpath(posixpath.join(posixpath.dirname(own), target))
        inside = PAGES.get(place) or (place.removeprefix(f"{DOCS}/") if place.startswith(f"{DOCS}/") else None)
        return words if inside is None else f"{mark}[{words}]({inside}{anchor or ''})"

    return LINK.sub(linked, markdown)


def notebook(path: Path) -> str:
    """The cells of a notebook as Markdown."""
    texts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        texts.append(f"```python\n{text}\n```" if cell["cell_type"] == "code" else text)
    return "\n\n".join([*texts, "[The same as a notebook](tutorial.ipynb)", ""])
