"""How safe is a rule on test? Draws of users from result files: ``python benchmarks/safeguard.py``.

  --results=FILE,FILE   of `recbole-raserec run`; by default the Amazon runs of seed 2020 beside this file
  --draws=300

Of each file's test users two disjoint sets are drawn (with replacement where there are too few). The first is the
validation part of a rule, the second its test. The candidates are RaSeRec and two weaker forms, in which a user's ranks
change only with probability .6 and .35. Printed is, for each rule and number of users, the fraction of draws in which
retrieval is kept, and that in which it is kept and one of the 12 metrics falls significantly on test (z < -1.96).
Groups are left out, because result files do not have the targets; they make a rule only stricter.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402

from benchmarks import read_options  # noqa: E402
from recbole_raserec.evaluation.metrics import Metrics  # noqa: E402
from recbole_raserec.evaluation.ranking import PROTOCOLS, Ranks  # noqa: E402
from recbole_raserec.evaluation.safeguard import GAIN, OVERALL  # noqa: E402
from recbole_raserec.evaluation.significance import gains, unpack_ranks, z_of  # noqa: E402
from recbole_raserec.reporting.result import Result, read_result  # noqa: E402

USERS, SHARES = (450, 943, 5000), (1.0, 0.6, 0.35)
# Least z of each metric, and of the watched one in both protocols together
RULES = {
    "nothing falls significantly": (-1.96, -9.0),
    "no metric below": (0.0, -9.0),
    "the bounds in use": (OVERALL, GAIN),
    "and a gain of 1.64 standard errors": (0.0, 1.64),
    "half a standard error above": (0.5, 1.64),
}


def user_gains(result: Result) -> tuple[np.ndarray, list[int]]:
    """[12, R] gains of the test users in each metric and protocol, and which rows are of the watched metric."""
    assert result.test_ranks is not None
    base, new = (
        Ranks(*(unpack_ranks(result.test_ranks[side][protocol]) for protocol in PROTOCOLS))
        for side in ("backbone", "train")
    )
    metrics = Metrics.of(result.config)
    found = gains(base, new, metrics)
    return np.stack(list(found.values())), [i for i, (_, name) in enumerate(found) if name == metrics.watched]


def draw(gain: np.ndarray, users: int, rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """The candidates' gains of the users that a rule sees, and of those that test it."""
    total = gain.shape[1]
    rows = rng.permutation(total)[: 2 * users] if total > 2 * users else rng.integers(0, total, 2 * users)
    seen, tests = gain[:, rows[:users]], gain[:, rows[users:]]
    return [(seen * (rng.random(users) < share), tests * (rng.random(users) < share)) for share in SHARES]


def kept(candidates: list[tuple[np.ndarray, np.ndarray]], watched: list[int], least: float, proof: float) -> int | None:
    """The candidate that a rule keeps; None for the backbone."""
    passing = {
        number: seen[watched].sum()
        for number, (seen, _) in enumerate(candidates)
        if min(map(z_of, seen)) >= least and z_of(seen[watched].sum(axis=0)) > proof
    }
    return max(passing, key=passing.__getitem__) if passing else None


def main(argv: list[str]) -> None:
    files = sorted((HERE / "results").glob("amazon-*-2020.json"))
    options = read_options(argv, {"results": ",".join(map(str, files)), "draws": "300"})
    rng, draws = np.random.default_rng(0), int(options["draws"])
    for file in str(options["results"]).split(","):
        gain, watched = user_gains(read_result(file))
        for users in USERS:
            counts = {name: [0, 0] for name in RULES}
            for _ in range(draws):
                candidates = draw(gain, users, rng)
                for name, rule in RULES.items():
                    number = kept(candidates, watched, *rule)
                    if number is not None:
                        counts[name][0] += 1
                        counts[name][1] += min(map(z_of, candidates[number][1])) < -1.96
            for name, (held, fell) in counts.items():
                print(f"{Path(file).stem}, {users} users, {name}: kept {held / draws:.2f}, fell {fell / draws:.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
