"""What `assay join` says: who takes part, who has to wait, and who cannot submit."""

import pytest

from assay.client.participating import joined_words


@pytest.mark.parametrize(
    ("role", "status", "team", "said"),
    [
        ("participant", "accepted", "pia", "You take part in brains."),
        ("participant", "pending", "pia", "have to approve it before you can submit"),
        ("participant", "rejected", "pia", "did not approve"),
        ("participant", "banned", "pia", "excluded you"),
        ("organizer", "accepted", None, "assay join brains --team TEAM"),
        ("organizer", "accepted", "olga", "You take part in brains."),
    ],
)
def test_joining_says_what_came_of_it(role, status, team, said):
    assert said in joined_words({"role": role, "status": status, "team": team}, challenge="brains")
