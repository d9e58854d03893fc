"""Users' rows as values that can be compared."""

from dataclasses import replace

import numpy as np

from serving.online_features import UserRow


def as_lists(row: UserRow) -> UserRow:
    """With lists in place of arrays, which cannot be compared as a whole."""
    return replace(row, row={name: np.asarray(value).tolist() for name, value in row.row.items()})
