"""What keeps a few people from steering a living memory: limits for the memories that were added to the model's own."""

from __future__ import annotations

import math
from dataclasses import dataclass

from recbole_raserec.errors import ConfigError


@dataclass(frozen=True)
class Guard:
    """Limits for added memories. 0 is no limit. The model's own memories have none, so its figures stay as they are.

    All memories without an owner count as those of one owner, because nobody knows how many people they are of.

    Attributes
    ----------
    max_per_owner : added memories that an owner may have. More are refused.
    votes_per_owner : an owner's n added memories weigh together at most as much as this number of memories: each of
        them min(1, votes / n) in the attention, in the mixture and in the vector of a new item.
    quarantine : seconds after its addition from which on a memory counts.
    new_item_owners : owners who must have chosen an item that training never saw, before it is recommended.
    """

    max_per_owner: int = 0
    votes_per_owner: float = 0.0
    quarantine: float = 0.0
    new_item_owners: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            whole = name in ("max_per_owner", "new_item_owners")
            if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
                raise ConfigError(name, value, f"not a {'whole ' * whole}number", "give a number; 0 is no limit")
            if not 0 <= value < math.inf:
                raise ConfigError(name, value, "negative or not finite", "give a number from 0; 0 is no limit")


NO_GUARD = Guard()
