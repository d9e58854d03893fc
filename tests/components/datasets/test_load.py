"""The adapters that come with the platform, and the sample of users."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.artifacts.errors import ConfigError
from components.artifacts.tables import SCHEMAS, Tables, conform
from components.datasets.config import parse_dataset_config
from components.datasets.load import load_dataset, sample


def users_only(users: list[str]) -> Tables:
    table = conform(pa.table({"user_id": pa.array(users, pa.string())}), "users")
    return Tables(
        SCHEMAS["interactions"].empty_table(),
        SCHEMAS["items"].empty_table(),
        table,
        SCHEMAS["promotions"].empty_table(),
    )


def drawn(share: float, users: list[str]) -> set[str]:
    return set(sample(users_only(users), share).users["user_id"].to_pylist())


def test_a_larger_sample_contains_the_smaller_one() -> None:
    users = [str(number) for number in range(2000)]
    assert drawn(0.1, users) < drawn(0.3, users) < drawn(1.0, users) == set(users)


def test_a_sample_has_about_its_share() -> None:
    assert 0.2 - 0.03 < len(drawn(0.2, [f"u{number}" for number in range(5000)])) / 5000 < 0.2 + 0.03


@given(st.lists(st.text(max_size=5), unique=True), st.text(max_size=5))
def test_whether_a_user_is_drawn_does_not_depend_on_the_others(users: list[str], user: str) -> None:
    assert (user in drawn(0.5, [*users, user])) == (user in drawn(0.5, [user]))


def test_the_draw_is_the_same_on_every_machine() -> None:
    assert drawn(0.5, list("abcdef")) == {"a", "b", "c", "f"}  # murmur3_32 modulo 10^6, under 500,000


def movielens(folder: Path, ratings: str = "1,10,4.0,964982703\n1,20,3.5,964982704\n2,10,bad,oops\n") -> Tables:
    (folder / "ratings.csv").write_text(f"userId,movieId,rating,timestamp\n{ratings}")
    (folder / "movies.csv").write_text(
        'movieId,title,genres\n10,"Matrix, The (1999)",Action|Sci-Fi\n20,Plain,(no genres listed)\n'
    )
    return load_dataset(parse_dataset_config({"adapter": "movielens", "folder": str(folder)}))


def test_a_rating_speaks_for_a_film_from_the_threshold_on(tmp_path: Path) -> None:
    rows = movielens(tmp_path).interactions
    assert rows["weight"].to_pylist() == [1.0, 0.0, 0.0]
    assert rows["rating"].to_pylist() == [4.0, 3.5, None]


def test_an_unreadable_rating_and_time_are_kept_in_the_flags(tmp_path: Path) -> None:
    flags = movielens(tmp_path).interactions["flags"].to_pylist()
    assert flags == [None, None, "unreadable event_timestamp oops,unreadable rating bad"]


def test_films_have_their_genres(tmp_path: Path) -> None:
    matrix, plain = movielens(tmp_path).items.to_pylist()
    assert (matrix["title"], matrix["category"], matrix["description"]) == (
        "Matrix, The (1999)",
        "Action",
        "action sci-fi",
    )
    assert (plain["category"], plain["description"]) == (None, None)


def test_a_folder_without_ratings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no ratings.csv; expected the unpacked folder"):
        load_dataset(parse_dataset_config({"adapter": "movielens", "folder": str(tmp_path)}))


def test_a_folder_without_transactions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no transactions.parquet, .*Leave `folder` out"):
        load_dataset(parse_dataset_config({"adapter": "complete_journey", "folder": str(tmp_path)}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"adapter": "movilens"}, "set `adapter` to complete_journey, movielens or tables"),
        ({}, "set `adapter`"),
        ({"adapter": "complete_journey", "sample_users": 0}, "sample_users: .*greater than 0"),
        ({"adapter": "complete_journey", "foldr": "x"}, "foldr: there is no such key, did you mean folder"),
        ({"adapter": "complete_journey", "label_types": []}, "label_types"),
    ],
)
def test_a_wrong_section_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_dataset_config(values)
