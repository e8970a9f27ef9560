"""One submission of each team.

A rank may depend on who else takes part, so a team's best is found by ranking all submissions, and those chosen are then ranked
among themselves: hiding one submission can change the others' ranks.
"""

import math
from collections.abc import Callable, Mapping


def one_per_team(
    teams: Mapping[str, str], *, rule: str, ranks: Callable[[], Mapping[str, int | float | None]]
) -> tuple[str, ...]:
    """The submissions that count: `all`, each team's `latest`, or its `best` by `ranks`, the earlier one where two tie.

    `teams`: submission → team, in the order in which they were entered.
    """
    if rule == "all":
        return tuple(teams)
    if rule == "latest":
        return tuple({team: name for name, team in teams.items()}.values())
    known = ranks()
    best: dict[str, str] = {}
    for name in sorted(teams, key=lambda name: _key(known.get(name))):
        best.setdefault(teams[name], name)
    return tuple(best.values())


def _key(rank: float | None) -> float:
    return math.inf if rank is None else rank
