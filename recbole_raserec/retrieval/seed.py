"""What a new store begins with: the model's own memories."""

from __future__ import annotations

import numpy as np

from recbole_raserec.retrieval.memory import NO_OWNER
from recbole_raserec.retrieval.names import Names
from recbole_raserec.retrieval.rows import Rows
from recbole_raserec.retrieval.segments import Segment


def seed(base: Segment, items: Names, owners: Names) -> tuple[Rows, list[str], list[str]]:
    """The rows of ``base``, and the tokens of the items and the owners that they name, which they count from 1."""
    bank = base.bank
    seeded = np.unique(bank.targets), np.unique(bank.owners[bank.owners != NO_OWNER])
    of_items, of_owners = ([names.tokens[n] for n in used] for names, used in zip((items, owners), seeded))
    targets, theirs = (np.searchsorted(used, column) + 1 for used, column in zip(seeded, (bank.targets, bank.owners)))
    theirs[bank.owners == NO_OWNER] = 0
    return Rows(base.ids, targets, theirs, bank.lengths, bank.times, bank.keys, base.added), of_items, of_owners
