"""`assay notices` and `assay invite`, as a person types them, against a server with canned answers."""

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
