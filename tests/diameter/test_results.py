"""Results by name, and how they stand in an answer (RFC 6733 7, TS 29.229 6.2, TS 29.214 5.5)."""

from __future__ import annotations

import pytest

from opencscf.common.errors import ParseError
from opencscf.diameter import dictionary, results
from opencscf.diameter.dictionary import TGPP
from opencscf.diameter.results import Result, result_avps, result_of


@pytest.mark.parametrize(
    ("result", "name", "is_success"),
    [
        (Result(2001), "SUCCESS (2001)", True),
        (Result(2001, TGPP), "FIRST_REGISTRATION (2001)", True),
        (Result(3002), "UNABLE_TO_DELIVER (3002)", False),
        (Result(5005), "MISSING_AVP (5005)", False),
        (Result(5005, TGPP), "IDENTITY_ALREADY_REGISTERED (5005)", False),
        (Result(5065, TGPP), "IP_CAN_SESSION_NOT_AVAILABLE (5065)", False),
        (Result(5999, TGPP), "unknown result (5999)", False),
        (Result(2001, 9), "unknown result of vendor 9 (2001)", True),
    ],
    ids=str,
)
def test_names(result: Result, name: str, is_success: bool) -> None:  # noqa: FBT001  # a table's column
    assert str(result) == name
    assert result.is_success is is_success


def test_same_number_of_another_vendor_is_another_result() -> None:
    assert Result.SUCCESS != Result.FIRST_REGISTRATION
    assert Result(2001) == Result.SUCCESS
    assert Result(2001, TGPP) == Result.FIRST_REGISTRATION
    assert Result.UNABLE_TO_DELIVER.is_protocol_error
    assert not Result(3002, TGPP).is_protocol_error


def test_every_declared_result_has_its_code() -> None:
    declared = {name for name, kind in Result.__annotations__.items() if kind == "ClassVar[Result]"}
    assert declared == {*results._BASE.values(), *results._EXPERIMENTAL.values()}


@pytest.mark.parametrize("result", [Result.SUCCESS, Result.FIRST_REGISTRATION, Result(5999, 9)], ids=str)
def test_results_are_read_as_they_were_written(result: Result) -> None:
    assert result_of(result_avps(result), "UAA") == result


def test_experimental_result_counts_before_result_code() -> None:
    # seen in a peer's SAA: both, and only the experimental one is meant
    avps = [*result_avps(Result.SUCCESS), *result_avps(Result.ROAMING_NOT_ALLOWED)]
    assert result_of(avps, "SAA") == Result.ROAMING_NOT_ALLOWED


def test_members_of_experimental_result_come_in_any_order() -> None:
    code, vendor = dictionary.EXPERIMENTAL_RESULT_CODE.number(5001), dictionary.VENDOR_ID.number(TGPP)
    assert result_of([dictionary.EXPERIMENTAL_RESULT.group(code, vendor)], "MAA") == Result.USER_UNKNOWN
    assert result_of([dictionary.EXPERIMENTAL_RESULT.group(code)], "MAA") == Result.USER_UNKNOWN


def test_repeated_result_code_counts_once() -> None:
    assert result_of([*result_avps(Result.SUCCESS), *result_avps(Result.UNABLE_TO_COMPLY)], "STA") == Result.SUCCESS


def test_answer_without_a_result_is_named() -> None:
    with pytest.raises(ParseError, match="UAA without Result-Code"):
        result_of([], "UAA")
    with pytest.raises(ParseError, match="UAA with an Experimental-Result without"):
        result_of([dictionary.EXPERIMENTAL_RESULT.group()], "UAA")
