"""MovieLens (GroupLens): ratings of films as canonical tables.

Source: Harper & Konstan, The MovieLens Datasets, ACM TiiS 5(4), 2015; the layout of `ml-latest-small`.
"""

from pathlib import Path

import duckdb

from components.artifacts.errors import ConfigError
from components.artifacts.tables import Tables, conform
from components.datasets.config import MovieLensConfig
from components.datasets.files import Source, open_source, require_columns

RATINGS = ("userId", "movieId", "rating", "timestamp")
MOVIES = ("movieId", "title", "genres")
TAGS = ("movieId", "tag")


def load_movielens(config: MovieLensConfig) -> Tables:
    """Ratings, films and the users who rated; there are no promotions.

    Raises:
        ConfigError: A file or a column is missing.
    """
    connection = duckdb.connect()
    ratings = _open(connection, config.folder, "ratings.csv", RATINGS)
    movies = _open(connection, config.folder, "movies.csv", MOVIES)
    tags = TAGS_SQL.format(table=_tags(connection, config)) if _has_tags(config) else NO_TAGS_SQL
    interactions = connection.sql(RATINGS_SQL.format(table=ratings.view, positive_from=float(config.positive_from)))
    return Tables(
        interactions=conform(interactions.to_arrow_table(), "interactions"),
        items=conform(connection.sql(MOVIES_SQL.format(table=movies.view, tags=tags)).to_arrow_table(), "items"),
        users=conform(connection.sql(USERS_SQL.format(table=ratings.view)).to_arrow_table(), "users"),
        promotions=conform(connection.sql(PROMOTIONS_SQL).to_arrow_table(), "promotions"),
    )


def _open(connection: duckdb.DuckDBPyConnection, folder: Path, name: str, columns: tuple[str, ...]) -> Source:
    if not (folder / name).is_file():
        raise ConfigError(
            f"dataset movielens: {folder.absolute()} has no {name}; expected the unpacked folder of a MovieLens "
            "download with ratings.csv and movies.csv. Set `folder`."
        )
    source = open_source(connection, (str(folder / name),), view=name.removesuffix(".csv"))
    require_columns(source, columns, used_for="the MovieLens adapter")
    return source


def _has_tags(config: MovieLensConfig) -> bool:
    return config.use_tags and (config.folder / "tags.csv").is_file()


def _tags(connection: duckdb.DuckDBPyConnection, config: MovieLensConfig) -> str:
    return _open(connection, config.folder, "tags.csv", TAGS).view


# A user rates a film once, so the pair is the event. Text that is no number or no time becomes null here,
# with the text kept in `flags`: ingestion quarantines the row.
RATINGS_SQL = """
SELECT "userId" || '-' || "movieId" AS event_id,
       "userId" AS user_id,
       "movieId" AS item_id,
       make_timestamp(try_cast("timestamp" AS BIGINT) * 1000000) AS event_timestamp,
       'rating' AS interaction_type,
       CASE WHEN try_cast(rating AS FLOAT) >= {positive_from} THEN 1 ELSE 0 END::FLOAT AS weight,
       try_cast(rating AS FLOAT) AS rating,
       nullif(concat_ws(',',
           CASE WHEN try_cast("timestamp" AS BIGINT) IS NULL THEN 'unreadable event_timestamp ' || "timestamp" END,
           CASE WHEN try_cast(rating AS FLOAT) IS NULL THEN 'unreadable rating ' || rating END), '') AS flags
FROM {table}
"""

TAGS_SQL = """
SELECT "movieId", string_agg(DISTINCT lower(tag), ' ' ORDER BY lower(tag)) AS words FROM {table} GROUP BY "movieId"
"""

NO_TAGS_SQL = """SELECT NULL::VARCHAR AS "movieId", NULL::VARCHAR AS words WHERE false"""

MOVIES_SQL = """
SELECT "movieId" AS item_id, title, genres[1] AS category,
       nullif(trim(concat_ws(' ', lower(array_to_string(genres, ' ')), words)), '') AS description
FROM (
    SELECT "movieId", title, nullif(string_split(genres, '|'), ['(no genres listed)']) AS genres FROM {table}
) LEFT JOIN ({tags}) USING ("movieId")
ORDER BY try_cast("movieId" AS BIGINT), "movieId"
"""

USERS_SQL = """
SELECT DISTINCT "userId" AS user_id FROM {table} WHERE "userId" IS NOT NULL ORDER BY try_cast("userId" AS BIGINT), 1
"""

PROMOTIONS_SQL = """
SELECT NULL::VARCHAR AS item_id, NULL::TIMESTAMP AS start_timestamp, NULL::TIMESTAMP AS end_timestamp WHERE false
"""
