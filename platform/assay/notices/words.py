"""What notices say: one subject and one sentence per kind of event, made in the reader's language from the stored facts.

A notice says that something happened and where to read it. It never carries a score, a rank, a case, a duration or an error text:
what a team may see of those is decided where it is opened, at that moment. The verdict is one of a closed list, the same that the
page of a closed submission shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from assay.verdict_words import verdict_words

Text = str | Promise


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """How one event is told. Both are filled with the notice's facts."""

    subject: Text
    text: Text


SENTENCES: Mapping[str, Sentence] = {
    "submission_done": Sentence(
        subject=_("%(challenge)s: submission #%(number)s has been scored"),
        text=_("Submission #%(number)s (%(name)s) of team %(team)s to %(phase)s has been scored."),
    ),
    "submission_failed": Sentence(
        subject=_("%(challenge)s: submission #%(number)s has failed"),
        text=_(
            "Submission #%(number)s (%(name)s) of team %(team)s to %(phase)s has failed: %(verdict)s. "
            "The page says what to do."
        ),
    ),
    "submission_not_theirs": Sentence(
        subject=_("%(challenge)s: submission #%(number)s has failed"),
        text=_(
            "Submission #%(number)s (%(name)s) of team %(team)s to %(phase)s has failed: %(verdict)s. "
            "It was not your fault, and no attempt was used."
        ),
    ),
    "submission_cancelled": Sentence(
        subject=_("%(challenge)s: submission #%(number)s was cancelled"),
        text=_("Submission #%(number)s (%(name)s) of team %(team)s to %(phase)s was cancelled."),
    ),
    "rejudged": Sentence(
        subject=_("%(challenge)s: scores were computed again"),
        text=_(
            "The organizers let newly computed scores count in %(phase)s. Submissions of team %(team)s are among them, "
            "and ranks may have changed."
        ),
    ),
    "disqualified": Sentence(
        subject=_("%(challenge)s: submission #%(number)s was disqualified"),
        text=_("Submission #%(number)s (%(name)s) of team %(team)s was taken out of the ranking. Reason: %(reason)s"),
    ),
    "reinstated": Sentence(
        subject=_("%(challenge)s: submission #%(number)s counts again"),
        text=_("Submission #%(number)s (%(name)s) of team %(team)s is back in the ranking."),
    ),
    "accepted": Sentence(
        subject=_("%(challenge)s: you take part"),
        text=_("The organizers accepted you in %(challenge)s. You may submit while a phase is open."),
    ),
    "rejected": Sentence(
        subject=_("%(challenge)s: you were not accepted"),
        text=_("The organizers did not accept you in %(challenge)s. Reason: %(reason)s"),
    ),
    "banned": Sentence(
        subject=_("%(challenge)s: you were excluded"),
        text=_("The organizers excluded you from %(challenge)s. Reason: %(reason)s"),
    ),
    "closes_soon": Sentence(
        subject=_("%(challenge)s: %(phase)s closes soon"),
        text=_("%(phase)s of %(challenge)s closes at %(closes)s."),
    ),
    # Translators: the organizers' own words follow.
    "announced": Sentence(subject=_("%(challenge)s: %(title)s"), text=_("%(text)s")),
    "topic_opened": Sentence(
        subject=_("%(challenge)s: a new topic"), text=_("%(person)s opened the topic “%(title)s” in %(challenge)s.")
    ),
    "post_written": Sentence(
        subject=_("%(challenge)s: a new post"),
        text=_("%(person)s wrote under the topic “%(title)s” in %(challenge)s."),
    ),
    "left_team": Sentence(
        subject=_("%(person)s has left the team %(team)s"), text=_("%(person)s has left the team %(team)s.")
    ),
    "removed_from_team": Sentence(
        subject=_("%(person)s is no longer in the team %(team)s"),
        text=_("The captain took %(person)s out of the team %(team)s."),
    ),
    "captain_of_team": Sentence(
        subject=_("You lead the team %(team)s"),
        text=_("You are the captain of the team %(team)s now: you invite, remove and rename."),
    ),
    "joined_team": Sentence(
        subject=_("%(person)s has joined the team %(team)s"), text=_("%(person)s is in the team %(team)s now.")
    ),
    "merge_asked": Sentence(
        subject=_("%(challenge)s: the team %(other)s wants to merge with %(team)s"),
        text=_(
            "The team %(other)s wants to become part of %(team)s in %(challenge)s. Its submissions and used attempts would "
            "count as yours. The page of your teams is where you decide."
        ),
    ),
    "merged": Sentence(
        subject=_("%(challenge)s: %(other)s is part of %(team)s now"),
        text=_("In %(challenge)s the team %(other)s competes as %(team)s now, with all its submissions."),
    ),
    "asked_to_join": Sentence(
        subject=_("%(challenge)s: %(person)s asks to take part"),
        text=_("%(person)s asks to take part in %(challenge)s. The page of people is where you decide."),
    ),
    "agreement_withdrawn": Sentence(
        subject=_("%(challenge)s: %(person)s withdrew an agreement"),
        text=_(
            "%(person)s withdrew the agreement for the data %(data)s of %(challenge)s, and can download them no more."
        ),
    ),
    "agreement_revoked": Sentence(
        subject=_("%(challenge)s: your agreement was revoked"),
        text=_(
            "The organizers revoked your agreement for the data %(data)s of %(challenge)s. You can download them no more. "
            "Reason: %(reason)s"
        ),
    ),
    "agreement_given_back": Sentence(
        subject=_("%(challenge)s: your agreement holds again"),
        text=_("Your agreement for the data %(data)s of %(challenge)s holds again. You can download them."),
    ),
    "publication_asked": Sentence(
        subject=_("%(challenge)s waits for your consent"),
        text=_("%(person)s asks to publish the draft %(challenge)s. An operator has to agree or refuse."),
    ),
    "publication_approved": Sentence(
        subject=_("%(challenge)s is public"),
        text=_("An operator agreed to the publication of %(challenge)s. Everybody can see it now."),
    ),
    "publication_refused": Sentence(
        subject=_("%(challenge)s stays a draft"),
        text=_("An operator refused the publication of %(challenge)s. Reason: %(reason)s"),
    ),
}
"""Event → how it is told. The facts are exactly the names in its sentences."""

WITHOUT_TIME = frozenset({"submission_done", "submission_failed", "submission_not_theirs", "submission_cancelled"})
"""How long an algorithm ran is a way out for hidden data: the page of a closed submission shows its end in coarse steps."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """One notice in words."""

    subject: str
    text: str


def in_words(event: str, facts: Mapping[str, Any]) -> Told:
    """An event in the language that is active. What a newer version stored and this one does not know is named by its code."""
    sentence = SENTENCES.get(event)
    if sentence is None:
        return Told(subject=event.replace("_", " "), text="")
    said = {**facts, **({"verdict": verdict_words(str(facts["verdict"]))} if "verdict" in facts else {})}
    return Told(subject=one_line(str(sentence.subject) % said), text=str(sentence.text) % said)


def one_line(text: str) -> str:
    """A subject without line breaks, and not too long for one."""
    return " ".join(text.split())[:200]
