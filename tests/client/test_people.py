"""`assay notices`, `assay invite` and `assay webhook`, as a person types them, against a server with canned answers."""

SIGN_IN = ("--url", "http://server", "--token", "assay_x")
READ = {
    "id": 1, "kind": "acceptance", "subject": "Brains: you take part", "text": "The organizers accepted you in Brains.",
    "path": "/c/brains/", "at": "2026-11-30T08:15:00Z", "is_read": True,
}  # fmt: skip
UNREAD = READ | {"id": 2, "subject": "Brains: submission #7 has been scored", "at": None, "is_read": False}
CHOICES = [{"kind": kind, "is_shown": True, "by_mail": "now"} for kind in ("verdict", "deadline")]
INVITE = {
    "id": 12, "email": "otto@example.org", "uses_left": 1, "created_at": "2026-11-30T08:15:00Z",
    "expires_at": "2026-12-30T08:15:00Z", "used_by": [], "link": None,
}  # fmt: skip


def test_notices_are_listed_and_counted_as_read(assay, server):
    server.will_answer("GET", "notices", {"notices": [UNREAD, READ], "older": None, "unread": 1})
    server.will_answer("POST", "notices/read", None, status=204)
    listed = assay(*SIGN_IN, "notices").output
    assert ("* Brains: submission #7" in listed, "you take part" in listed) == (True, False)
    assert "2026-11-30 08:15 UTC  Brains: you take part" in assay(*SIGN_IN, "notices", "--all").output
    assert '"id": 2' in assay(*SIGN_IN, "notices", "--json").output
    assert "count as read" in assay(*SIGN_IN, "notices", "read").output
    assert server.requests[-1][:2] == ("POST", "notices/read")


def test_without_news_it_says_so(assay, server):
    server.will_answer("GET", "notices", {"notices": [READ], "older": None, "unread": 0})
    assert "nothing that you have not read" in assay(*SIGN_IN, "notices").output


def test_what_one_hears_of_is_chosen_by_kind(assay, server):
    server.will_answer("GET", "notices/choices", CHOICES)
    server.will_answer("PUT", "notices/choices", [CHOICES[0] | {"by_mail": "digest"}, CHOICES[1]])
    assert "deadline      yes      now" in assay(*SIGN_IN, "notices", "choices").output
    changed = assay(*SIGN_IN, "notices", "choose", "verdict", "--mail", "digest", "--no-website").output
    assert "verdict       yes      digest" in changed
    assert server.requests[-1][2] == [{"kind": "verdict", "is_shown": False, "by_mail": "digest"}]
    unknown = assay(*SIGN_IN, "notices", "choose", "gossip", "--mail", "never")
    assert (unknown.exit_code, "verdict, deadline" in unknown.output) == (2, True)
    assert assay(*SIGN_IN, "notices", "choose", "verdict").exit_code == 2


def test_people_are_invited_by_mail_and_by_link(assay, server):
    at = "challenges/brains/invites"
    server.will_answer(
        "POST", at, [INVITE], [INVITE | {"email": "", "uses_left": 3, "link": "http://server/join/assayjoin_x/"}]
    )
    server.will_answer("GET", at, [INVITE | {"uses_left": 0, "used_by": ["otto"]}])
    server.will_answer("DELETE", f"{at}/12", None, status=204)
    sent = assay(*SIGN_IN, "invite", "send", "brains", "otto@example.org").output
    assert "12  otto@example.org: 1 left until 2026-12-30" in sent
    assert server.requests[-1][2] == {"addresses": ["otto@example.org"]}
    assert assay(*SIGN_IN, "invite", "link", "brains", "--people", "3").output == "http://server/join/assayjoin_x/\n"
    assert server.requests[-1][2] == {"uses": 3, "days": 30}
    assert "used up or ended, used by otto" in assay(*SIGN_IN, "invite", "list", "brains").output
    assert "works no more" in assay(*SIGN_IN, "invite", "end", "brains", "12").output


def test_a_link_is_opened_and_the_next_step_is_named(assay, server):
    server.will_answer("POST", "invites/open", {"challenge": "brains", "title": "Brains"})
    for link in ("https://server/join/assayjoin_x/", "assayjoin_x"):
        assert "assay join brains" in assay(*SIGN_IN, "invite", "open", link).output
        assert server.requests[-1][2] == {"token": "assayjoin_x"}


PING = {
    "id": "d-1", "event": "ping", "replay_of": None, "state": "arrived", "at": "2026-11-30T08:15:00Z", "attempts": 1,
    "status_code": 204, "error": "", "done_at": "2026-11-30T08:15:01Z", "gave_up_at": None,
}  # fmt: skip
LOST = PING | {
    "id": "d-2",
    "event": "submission_done",
    "state": "given_up",
    "status_code": None,
    "error": "timeout",
    "at": None,
}


def test_a_webhook_is_added_tested_replayed_and_removed(assay, server):
    at = "teams/engines/hooks"
    hook = {"id": "h-1", "url": "https://example.org/x", "failures": 0, "disabled_at": "2026-11-30T08:15:00Z"}
    server.will_answer("POST", at, {"id": "h-1", "url": "https://example.org/x", "secret": "s3"}, status=201)
    server.will_answer("GET", at, [hook])
    server.will_answer("GET", f"{at}/h-1/deliveries", [LOST, PING])
    for number in ("d-1", "d-2"):
        again = PING | {"id": "d-3", "state": "waits", "status_code": None, "replay_of": number}
        server.will_answer("POST", f"{at}/h-1/deliveries/{number}/replay", again, status=201)
    server.will_answer("DELETE", f"{at}/h-1", None, status=204)
    of_team = ("--team", "engines")
    assert "shown this once: s3" in assay(*SIGN_IN, "webhook", "add", "https://example.org/x", *of_team).output
    assert "switched off" in assay(*SIGN_IN, "webhook", "list", *of_team).output
    assert assay(*SIGN_IN, "webhook", "log", "h-1", *of_team).output.splitlines() == [
        "d-2  submission_done: given up (timeout)",
        "d-1  ping: arrived (204)  2026-11-30 08:15 UTC",
    ]
    for command, number in ((("test", "h-1"), "d-1"), (("replay", "h-1", "d-2"), "d-2")):
        assert f"waits, again of {number}" in assay(*SIGN_IN, "webhook", *command, *of_team).output
        assert server.requests[-1][:2] == ("POST", f"{at}/h-1/deliveries/{number}/replay")
    assert "Nothing is sent there" in assay(*SIGN_IN, "webhook", "remove", "h-1", *of_team).output
    server.will_answer("GET", f"{at}/h-1/deliveries", [LOST])
    assert "too old" in assay(*SIGN_IN, "webhook", "test", "h-1", *of_team).output


def test_a_webhook_belongs_to_a_team_or_to_organizers(assay, server):
    server.will_answer("GET", "challenges/brains/hooks", [])
    assert "There is none." in assay(*SIGN_IN, "webhook", "list", "--challenge", "brains").output
    for whose in ((), ("--team", "engines", "--challenge", "brains")):
        assert assay(*SIGN_IN, "webhook", "list", *whose).exit_code == 2
