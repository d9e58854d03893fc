"""The join keys."""

import feature_repo.lean_feast  # noqa: F401 - the first import of Feast is the quick one

# isort: split
from feast import Entity, ValueType

from feature_repo.schema import ITEM_ID, USER_ID

USER = Entity(name="user", join_keys=[USER_ID], value_type=ValueType.STRING, description="Who is recommended to")
ITEM = Entity(name="item", join_keys=[ITEM_ID], value_type=ValueType.STRING, description="What is recommended")

ENTITIES = {USER_ID: USER, ITEM_ID: ITEM}
