"""The rule that refuses a ranking by which somebody would lose against the backbone, from paired validation users."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from recbole_raserec.evaluation.groups import length_groups, popularity_groups
from recbole_raserec.evaluation.metrics import Metrics
from recbole_raserec.evaluation.ranking import PROTOCOLS, Ranks
from recbole_raserec.evaluation.significance import gains, z_of

OVERALL = 0.0  # least z of each metric of all users
GROUP = -1.64  # least z of the watched metric of each group: no group falls significantly (one-sided 5 %)
OTHER = -2.58  # least z of the other metrics of each group; lower, because they are many (one-sided .5 %)
GAIN = 1.0  # the z of the watched metric, both protocols together, must be above it: one user who gains has 1
EQUAL = 1.0  # z up to which a difference between two rankings counts as chance

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Safeguard:
    """Compares rankings of the validation users with the backbone's ranking of the same users.

    A ranking passes if all of this holds. z is the mean gain over the users, in standard errors.

    - All users: no metric is below the backbone's under either protocol (z >= ``OVERALL``).
    - The watched metric gains in the sum of both protocols (z > ``GAIN``).
    - Each quintile of item popularity and each history length: the watched metric does not fall significantly under
      either protocol (z >= ``GROUP``), and no other metric falls clearly (z >= ``OTHER``).

    The rule is stricter than "nothing falls significantly" (z >= -2). In a small data set nothing is significant, so
    that rule lets pass what then costs test users (ml-100k: docs/safeguard.md). Standard errors grow as users become
    fewer, so the gain that has to be shown grows too.

    Attributes
    ----------
    base : ranks [R] of the backbone.
    groups : the rows [R] bool of each group.
    """

    base: Ranks
    groups: dict[str, np.ndarray]
    metrics: Metrics

    @classmethod
    def of(
        cls, base: Ranks, targets: np.ndarray, lengths: np.ndarray, counts: np.ndarray, metrics: Metrics
    ) -> Safeguard:
        """The safeguard of users with these targets [R] and history lengths [R], and training counts [V] of items."""
        of_items = popularity_groups(targets, counts)
        groups = {f"items of {name}": rows for name, rows in of_items.items() if name.startswith("quintile")}
        groups |= {f"histories of {name}": rows for name, rows in length_groups(lengths).items()}
        return cls(base, {name: rows for name, rows in groups.items() if rows.any()}, metrics)

    def refusal(self, new: Ranks) -> str | None:
        """Why the ranks ``new`` [R] do not pass, in words; None if they pass."""
        found = gains(self.base, new, self.metrics)
        least = min(found, key=lambda name: z_of(found[name]))
        if z_of(found[least]) < OVERALL:
            return _falls(*least, "all users", found[least])
        watched = self.metrics.watched
        if (gained := z_of(self._gain(found))) <= GAIN:
            return f"the gain in {watched} is too small ({gained:.1f} standard errors)"
        of_group = sorted(found.items(), key=lambda item: item[0][1] != watched)  # the watched metric is told first
        for group, rows in self.groups.items():
            for (protocol, metric), gain in of_group:
                if z_of(gain[rows]) < (GROUP if metric == watched else OTHER):
                    return _falls(protocol, metric, group, gain[rows])
        return None

    def most_certain(self, passing: Mapping[Key, Ranks]) -> Key:
        """Of the rankings whose sum of both protocols is the best or equals it, the one whose gain has the highest z.

        A ranking equals the best if it is below it by at most ``EQUAL`` standard errors, as in the one-standard-error
        rule of Breiman et al., "Classification and Regression Trees", 1984. So what is best by luck on few users is
        not preferred to what gains a little less, and more surely.
        """
        gained = {key: self._gain(gains(self.base, new, self.metrics)) for key, new in passing.items()}
        best = max(gained.values(), key=np.sum)
        equal = [key for key, gain in gained.items() if z_of(best - gain) <= EQUAL]
        return max(equal, key=lambda key: z_of(gained[key]))

    def _gain(self, found: dict[tuple[str, str], np.ndarray]) -> np.ndarray:
        """What each user [R] gains in the watched metric, both protocols together."""
        return np.sum([found[protocol, self.metrics.watched] for protocol in PROTOCOLS], axis=0)


def _falls(protocol: str, metric: str, who: str, gain: np.ndarray) -> str:
    return f"{protocol} {metric} of {who} falls by {-z_of(gain):.1f} standard errors"
