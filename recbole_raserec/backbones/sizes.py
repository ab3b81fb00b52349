"""All that a backbone may read of a data set. A model's file holds no more, so it can be built again from there."""

from __future__ import annotations

from typing import Any


class Sizes:
    """Numbers of users and items, with padding, under the names that RecBole's models read them by.

    Parameters
    ----------
    config : names of the fields.
    """

    def __init__(self, config: Any, user_num: int, item_num: int) -> None:
        self.user_num, self.item_num = user_num, item_num
        self._of = {config["USER_ID_FIELD"]: user_num, config["ITEM_ID_FIELD"]: item_num}

    def num(self, field: str) -> int:
        """Number of different values of a field."""
        return self._of[field]
