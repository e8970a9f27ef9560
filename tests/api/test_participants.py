"""Organizers decide who takes part, and the person reads why."""


def test_a_decision_and_its_reason_reach_the_person(scene, as_olga, as_pia):
    listed = as_olga("GET", "/challenges/brains/participants").json()
    assert [(row["username"], row["team"], row["email"]) for row in listed] == [
        ("pia", "Pia and friends", "pia@example.org")
    ]
    answer = as_olga("POST", "/challenges/brains/participants/pia", {"status": "banned", "reason": "two accounts"})
    assert answer.json()["status"] == "banned"
    shown = as_pia("GET", "/challenges/brains/phases/final").json()["eligibility"]
    assert shown["text"] == "no: you are excluded from this challenge: two accounts"
    assert shown["conditions"][0]["cure"] == "Ask the organizers."


def test_nobody_can_be_decided_over_who_did_not_ask(as_olga):
    assert as_olga("POST", "/challenges/brains/participants/otto", {"status": "accepted"}).status_code == 404
    assert as_olga("POST", "/challenges/brains/participants/pia", {"status": "promoted"}).status_code == 422
    assert as_olga("POST", "/challenges/brains/organizers", {"username": "nobody"}).status_code == 404
