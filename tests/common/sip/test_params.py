"""Parameters and lists of header fields (RFC 3261 7.3.1, 25.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opencscf.common.errors import ParseError
from opencscf.common.sip.params import Params, parse_params, quote, split_elements, unquote

pytestmark = pytest.mark.usefixtures("form")


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        pytest.param("", (), id="none"),
        pytest.param(";lr", (("lr", None),), id="a parameter without a value"),
        pytest.param(";a=1;b=2", (("a", "1"), ("b", "2")), id="order is kept"),
        pytest.param(" ; a = 1 ;\tb", (("a", "1"), ("b", None)), id="white space around separators"),
        pytest.param(';a="x;y\\"=z";b', (("a", '"x;y\\"=z"'), ("b", None)), id="separators inside a quoted string"),
        pytest.param(";received=[2001:db8::1]", (("received", "[2001:db8::1]"),), id="an IPv6 reference as value"),
        pytest.param(";rport=", (("rport", ""),), id="an empty value, which phones send"),
    ],
)
def test_parameters(text: str, pairs: tuple[tuple[str, str | None], ...]) -> None:
    assert parse_params(text) == pairs


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(";;a", id="4475-3.1.2.1 nothing between separators"),
        pytest.param(";a;", id="nothing after the last separator"),
        pytest.param(";=x", id="no name"),
        pytest.param(';a="x', id="unterminated quoted string"),
        pytest.param(";a=b=<", id="an angle bracket"),
        pytest.param("a=b", id="no semicolon"),
        pytest.param(";ä=b", id="a name that is no token"),
    ],
)
def test_malformed_parameters(text: str) -> None:
    with pytest.raises(ParseError):
        parse_params(text)


def test_names_are_looked_up_in_any_case() -> None:
    params = parse_params(';Tag=A;LR;x="q\\"uoted"')
    assert (params.get("tag"), params.get("TAG"), params.get("lr"), params.get("x")) == ("A", "A", "", 'q"uoted')
    assert params.get("absent") is None
    assert params.has("lr")


def test_edits_keep_the_other_parameters_as_they_were() -> None:
    params = parse_params(";A=1;b;c=3")
    assert str(params.replaced("B", "2").replaced("d", None).without("a", "x")) == ";b=2;c=3;d"


@pytest.mark.parametrize(
    ("text", "elements"),
    [
        pytest.param("a", ["a"], id="one"),
        pytest.param("a , b,c", ["a", "b", "c"], id="white space around commas"),
        pytest.param(
            '"a, b" <sip:c,d@e>, <sip:f>', ['"a, b" <sip:c,d@e>', "<sip:f>"], id="commas in quotes and brackets"
        ),
        pytest.param('"a\\", b" <sip:c>, d', ['"a\\", b" <sip:c>', "d"], id="an escaped quote"),
        pytest.param('<sip:a>;x="1,2",b', ['<sip:a>;x="1,2"', "b"], id="commas in a quoted parameter"),
        pytest.param("<sip:a>,", ["<sip:a>", ""], id="an empty last element stays visible"),
    ],
)
def test_comma_lists(text: str, elements: list[str]) -> None:
    assert split_elements(text) == elements


@pytest.mark.parametrize("text", ['"a, b', "<sip:a, b", 'a"b, c'])
def test_unterminated_list_elements(text: str) -> None:
    with pytest.raises(ParseError):
        split_elements(text)


@given(st.text())
def test_quoting_is_undone_by_unquoting(text: str) -> None:
    assert unquote(quote(text)) == text


@given(st.lists(st.tuples(st.from_regex(r"[a-z]{1,4}", fullmatch=True), st.none() | st.text("a:[1]", min_size=1))))
def test_what_is_written_is_read_back(pairs: list[tuple[str, str | None]]) -> None:
    assert parse_params(str(Params(pairs))) == Params(pairs)


@given(st.text(';="\\ <>,a\t', max_size=40))
def test_any_text_is_parameters_or_a_parse_error(text: str) -> None:
    try:
        params = parse_params(text)
    except ParseError:
        return
    assert parse_params(str(params)) == params


@given(st.text("a<>, ", max_size=12))
def test_quick_split_agrees_with_the_general_one(text: str) -> None:
    """A quoted string anywhere takes the general way."""

    def split(whole: str) -> list[str] | None:
        try:
            return split_elements(whole)
        except ParseError:
            return None

    general = split(f'{text},"q"')
    assert split(f"{text},a") == (general and [*general[:-1], "a"])
