"""`assay challenge tasks|estimate`, `assay leaderboard combined` and `assay files`, against a server with canned answers."""

SIGN_IN = ("--url", "http://server", "--token", "assay_x")
TASK = {"number": 0, "title": "Write to the winners", "due": "2027-03-01", "is_done": False, "is_overdue": False, "is_soon": False}  # fmt: skip
AT = "challenges/brains/tasks"


def test_tasks_are_listed_and_changed_from_the_list_that_was_read(assay, server):
    server.will_answer("GET", AT, {"made_from": "f1", "tasks": []})
    server.will_answer(
        "POST", AT, {"made_from": "f2", "tasks": [TASK, TASK | {"number": 1, "due": None, "is_done": True}]}
    )
    assert "Nothing is to be done." in assay(*SIGN_IN, "challenge", "tasks", "brains").output
    said = assay(*SIGN_IN, "challenge", "tasks", "brains", "--add", "Write", "--due", "2027-03-01").output
    assert server.requests[-1][2] == {"act": "add", "title": "Write", "due": "2027-03-01", "made_from": "f1"}
    assert "  0 [ ] 2027-03-01  Write to the winners" in said
    assert "  1 [x]             Write to the winners" in said
    assay(*SIGN_IN, "challenge", "tasks", "brains", "--done", "0")
    assert server.requests[-1][2] == {"act": "done", "number": 0, "made_from": "f1"}
    assert assay(*SIGN_IN, "challenge", "tasks", "brains", "--done", "0", "--remove", "1").exit_code == 2
    assert assay(*SIGN_IN, "challenge", "tasks", "brains", "--due", "2027-03-01").exit_code == 2


def test_an_estimate_is_said_by_phase(assay, server):
    row = {"phase": "final", "cases": 20, "hours": 66.7, "gpu_hours": 66.7, "longest_hours": 333.3, "price": 33.35}
    server.will_answer("GET", "challenges/brains/estimate", [row])
    said = assay(*SIGN_IN, "challenge", "estimate", "brains", "--price", "0.5").output
    assert said == "final: 20 cases, 66.7 hours on nodes (66.7 GPU hours), at most 333.3, 33.35 to pay\n"


def test_a_combined_board_is_printed_or_its_absence_explained(assay, server):
    named = {"slug": "all", "title": "Both", "phases": ["one", "two"], "by": "mean_rank"}
    at = "challenges/brains/combined"
    server.will_answer("GET", at, [named])
    row = {"rank": 1, "team": "Blue Lab", "places": [1, None], "value": 1.5}
    board = named | {"rows": [row], "why_hidden": "", "notices": ["Two: provisional"]}
    server.will_answer("GET", f"{at}/all", board, board | {"rows": [], "why_hidden": "Two: under embargo"})
    assert assay(*SIGN_IN, "leaderboard", "combined", "brains").output == "all: Both (one, two, by mean rank)\n"
    printed = assay(*SIGN_IN, "leaderboard", "combined", "brains", "all").output
    assert ("Blue Lab" in printed, "1.5" in printed, "–" in printed, "Two: provisional" in printed) == (True,) * 4
    assert "Not shown to you. Two: under embargo" in assay(*SIGN_IN, "leaderboard", "combined", "brains", "all").output


def test_files_are_asked_for_and_deleted_with_a_question_first(assay, server):
    name = "0190c5b0-0000-7000-8000-000000000001"
    server.will_answer("POST", f"submissions/{name}/ask-deletion", {}, status=202)
    server.will_answer("POST", "submissions/delete-files", {"deleted": 0})
    assert "The organizers decide" in assay(*SIGN_IN, "files", "ask", name).output
    before = len(server.requests)
    assert assay(*SIGN_IN, "files", "delete", name, input="n\n").exit_code == 1
    assert len(server.requests) == before
    said = assay(*SIGN_IN, "files", "delete", name, "--reason", "asked", "--yes").output
    assert server.requests[-1][2] == {"submission_ids": [name], "reason": "asked"}
    assert said == "Deleted the files of 0. 1 have not ended yet.\n"
