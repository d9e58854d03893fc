"""The Complete Journey's own spellings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.datasets.complete_journey import description, title_case


@pytest.mark.parametrize(
    ("receipt", "title"),
    [
        ("BREAD:ITALIAN/FRENCH", "Bread: Italian/French"),
        ("  MILK   WHITE ", "Milk White"),
        ("", ""),
    ],
)
def test_capitals_of_a_receipt_become_a_title(receipt: str, title: str) -> None:
    assert title_case(receipt) == title


@given(st.text(alphabet="AB /:,'&0", max_size=20))
def test_a_title_keeps_its_letters(text: str) -> None:
    assert [sign for sign in title_case(text).upper() if sign.isalnum()] == [sign for sign in text if sign.isalnum()]


def test_a_description_has_each_word_once() -> None:
    assert description("MILK WHITE", None, "Fluid MILK") == "milk white fluid"


def test_no_labels_have_no_description() -> None:
    assert description(None, "") is None
