"""Tasks, estimates, combined boards and the deletion of files by the API: what the desk does in the browser."""

import pytest

import factories
from assay.challenges.models import Challenge
from assay.submissions.models import Submission

TASKS = "/challenges/brains/tasks"


def do(caller, **act):
    """One act on the list as it is now."""
    made_from = caller("GET", TASKS).json()["made_from"]
    return caller("POST", TASKS, {"made_from": made_from, **act})


def titles(answer):
    return [(task["number"], task["title"], task["due"], task["is_done"]) for task in answer.json()["tasks"]]


def test_tasks_are_added_done_taken_back_and_removed(as_olga):
    assert titles(do(as_olga, act="add", title="Write to the winners", due="2027-03-01")) == [
        (0, "Write to the winners", "2027-03-01", False)
    ]
    assert titles(do(as_olga, act="add", title="Order cake")) == [
        (0, "Write to the winners", "2027-03-01", False),
        (1, "Order cake", None, False),
    ]
    assert titles(do(as_olga, act="done", number=0))[-1] == (0, "Write to the winners", "2027-03-01", True)
    assert titles(do(as_olga, act="again", number=0))[0][3] is False
    assert titles(do(as_olga, act="remove", number=1)) == [(0, "Write to the winners", "2027-03-01", False)]
    assert len(titles(do(as_olga, act="usual"))) > 5


@pytest.mark.parametrize(
    ("act", "status", "code"),
    [
        ({"act": "add", "title": " "}, 422, "invalid"),
        ({"act": "add", "title": "x", "due": "soon"}, 422, "invalid"),
        ({"act": "done", "number": 7}, 404, "not_found"),
        ({"act": "dance"}, 422, "invalid"),
        ({"act": "usual", "made_from": "another file"}, 409, "changed_meanwhile"),
    ],
)
def test_an_act_that_cannot_be_changes_nothing(as_olga, act, status, code):
    answer = do(as_olga, **act)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert titles(as_olga("GET", TASKS)) == []


def test_an_estimate_counts_the_cases_of_each_phase(as_olga, scene):
    guesses = "teams=10&each=3&minutes=4&price_per_hour=0.5"
    (row,) = as_olga("GET", f"/challenges/brains/estimate?{guesses}").json()
    cases = scene.phase.chosen_testset.testset.cases.count()
    assert (row["phase"], row["cases"], row["hours"], row["price"]) == ("final", cases, 2.0 * cases, 1.0 * cases)
    assert as_olga("GET", "/challenges/brains/estimate?teams=-1").status_code == 422


def test_a_combined_board_is_read_as_its_page_shows_it(as_olga, as_nobody, scene):
    factories.entry(phase=scene.phase, rank=1, team=scene.team)
    Challenge.objects.update(
        combined=[{"slug": "all", "title": "Both", "phases": ["final", "gone"], "by": "mean_rank"}]
    )
    (listed,) = as_nobody("GET", "/challenges/brains/combined").json()
    assert (listed["slug"], listed["phases"]) == ("all", ["final", "gone"])
    board = as_olga("GET", "/challenges/brains/combined/all").json()
    assert (board["phases"], board["why_hidden"]) == (["final"], "")
    assert board["rows"] == [{"rank": 1, "team": scene.team.name, "places": [1], "value": 1.0}]
    scene.phase.is_embargoed = True
    scene.phase.save()
    hidden = as_nobody("GET", "/challenges/brains/combined/all").json()
    assert (hidden["rows"], bool(hidden["why_hidden"])) == ([], True)


def test_a_team_asks_for_deletion_and_organizers_delete(as_pia, as_olga, scene):
    submission = factories.submission(phase=scene.phase, team=scene.team, user=scene.pia, status="done")
    at = f"/submissions/{submission.pk}"
    assert as_pia("POST", f"{at}/ask-deletion").status_code == 202
    again = as_pia("POST", f"{at}/ask-deletion")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "asked_already")
    running = factories.submission(phase=scene.phase, team=scene.team, user=scene.pia, status="running")
    chosen = {"submission_ids": [str(submission.pk), str(running.pk)], "reason": "the team asked"}
    assert as_olga("POST", "/submissions/delete-files", chosen).json() == {"deleted": 1}
    submission = Submission.objects.get(pk=submission.pk)
    assert submission.predictions_deleted_at is not None
    assert submission.deletion_asked_at is None
