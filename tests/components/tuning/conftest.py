"""A database of a test's own in the PostgreSQL that all tests share."""

import itertools

import psycopg
import pytest

NUMBERS = itertools.count()


@pytest.fixture
def database(postgres) -> str:
    name = f"studies_{next(NUMBERS)}"
    with psycopg.connect(postgres.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres.url.replace("/postgres", f"/{name}")
