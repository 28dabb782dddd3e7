"""Docstrings as pages of the site show them: examples as code, what is said of arguments in paragraphs of their own."""

import re

import griffe

EXAMPLE = re.compile(r"^>>> .*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"\n+(Args|Fields|Returns|Raises|Shapes|Source): ")


class Shown(griffe.Extension):
    """Puts a fence around each doctest, and each section into a paragraph."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        """Change a docstring as it is read."""
        if obj.docstring:
            text = SECTION.sub(r"\n\n**\1:** ", obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub(r"```pycon\n\g<0>\n```", text)

    def on_package(self, *, pkg: griffe.Module, **kwargs) -> None:
        """Forget that the package imports its zoo, which lies beside it in a checkout: griffe would look for ever."""
        if pkg.path == "transferkit":
            pkg.members.pop("zoo", None)
