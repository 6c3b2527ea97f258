from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from opencscf.labs.commented_toml import Key, Table, document, value_text

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALAR = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUE = st.recursive(SCALAR, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=8)


@given(TEXT, VALUE)
def test_whatever_is_written_is_read_back(name: str, value: object) -> None:
    text = document("about", [Table("t", "why", (Key(name, value, "because"),))])  # type: ignore[arg-type]  # from hypothesis
    assert tomllib.loads(text) == {"t": {name: value}}


def test_comments_stand_beside_short_values_and_above_long_ones() -> None:
    table = Table("a.b", "What it is.", (Key("x", 1, "one"), Key("y", "z" * 60, "many")), is_array=True)
    assert document("First.\nSecond.", [table]).splitlines() == [
        "# First.",
        "# Second.",
        "",
        "# What it is.",
        "[[a.b]]",
        "x = 1".ljust(56) + "  # one",
        "# many",
        f'y = "{"z" * 60}"',
    ]


def test_control_characters_are_escaped() -> None:
    assert value_text("\x00\x7f\n") == '"\\u0000\\u007F\\n"'
