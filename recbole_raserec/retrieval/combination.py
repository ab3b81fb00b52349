"""How a user vector and its memories become scores. Nothing here is trained; the validation part chooses the values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recbole_raserec.retrieval.mixture import Mixture

NO_MIXTURE = Mixture(0.0, 1.0)


@dataclass(frozen=True)
class Combination:
    """One way to combine the backbone and the memories.

    Attributes
    ----------
    mixture : of the scores and the memories' votes.
    strength : s in [0, 1], how far the user vector moves: h + s (h~ - h). Since scores are inner products, every score
        is (1 - s) times the backbone's plus s times the augmented one.
    adjustment : lambda, subtracted from every score as lambda x log(1 + training count of the item). This is the logit
        adjustment of long-tail learning (arXiv 2007.07314) at prediction time.
    """

    mixture: Mixture = NO_MIXTURE
    strength: float = 1.0
    adjustment: float = 0.0

    @property
    def retrieves(self) -> bool:
        """Whether any score can differ from the backbone's because of a memory."""
        return self.strength > 0 or self.mixture.weight > 0

    def plain(self) -> dict[str, Any]:
        """The values in JSON types, for a model file."""
        return {"mixture": self.mixture.plain(), "strength": self.strength, "adjustment": self.adjustment}


FULL = Combination()  # the augmented vector and nothing else, as in the paper
BACKBONE = Combination(strength=0.0)  # no retrieval: the backbone's own scores
