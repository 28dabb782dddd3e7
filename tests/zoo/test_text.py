"""Text of unknown origin, shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferkit.zoo.text import printable


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("cat", "cat"),
        ("café 猫 👩‍🚀", "café 猫 👩‍🚀"),
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("one\nerror: two\r", r"one\nerror: two\r"),
        ("\x9b2J", r"\x9b2J"),
        ("gpj\u202eexe", r"gpj\u202eexe"),
        ("bytes \udcff", r"bytes \xff"),
        ("half \ud800", r"half \ud800"),
    ],
)
def test_only_what_a_terminal_would_obey_is_escaped(given_text, shown):
    assert printable(given_text) == shown


@given(st.text(st.characters(codec=None)))
def test_any_text_becomes_one_line_of_utf8_and_stays_so(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in shown)
    shown.encode("utf-8")
    assert printable(shown) == shown
