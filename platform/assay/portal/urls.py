"""Where the participants' pages live."""

from django.urls import path
from django.views.i18n import set_language

from assay.portal.views import challenge, documentation, feeds, mail, news, notices, people, site, submission

app_name = "portal"
urlpatterns = [
    path("", site.home, name="home"),
    path("help/", site.help_page, name="help"),
    path("docs/", documentation.documentation, name="docs"),
    path("docs/<path:page>", documentation.documentation, name="docs-page"),
    path("dev/mail/", mail.mails, name="mails"),
    path("theme/", site.theme, name="theme"),
    path("language/", set_language, name="language"),
    path("submissions/", site.my_submissions, name="my-submissions"),
    path("signup/", people.sign_up, name="sign-up"),
    path("login/", people.sign_in, name="sign-in"),
    path("logout/", people.sign_out, name="sign-out"),
    path("account/", people.account, name="account"),
    path("account/tokens/<uuid:token_id>/revoke/", people.revoke, name="revoke-token"),
    path("notices/", notices.notices, name="notices"),
    path("notices/<int:notice_id>/", notices.open_notice, name="open-notice"),
    path("notices/choices/", notices.choices, name="notice-choices"),
    path("notices/unsubscribe/<str:token>/", notices.end_mails, name="unsubscribe"),
    path("teams/", people.teams, name="teams"),
    path("teams/<slug:slug>/invite/", people.invite, name="invite"),
    path("teams/<slug:slug>/change/", people.change_team, name="change-team"),
    path("merges/<int:merge_id>/", people.merge, name="merge"),
    path("invites/<str:secret>/", people.accept, name="accept-invite"),
    path("c/<slug:slug>/", challenge.overview, name="challenge"),
    path("c/<slug:slug>/rules/", challenge.rules, name="rules"),
    path("c/<slug:slug>/news/", news.news, name="news"),
    path("c/<slug:slug>/news.atom", feeds.NewsFeed(), name="news-feed"),
    path("challenges.atom", feeds.ChallengesFeed(), name="challenges-feed"),
    path("join/<str:secret>/", challenge.invited, name="challenge-invite"),
    path("c/<slug:slug>/rules/accept/", challenge.accept, name="accept-rules"),
    path("c/<slug:slug>/data/<slug:name>/sign/", challenge.sign_agreement, name="sign-agreement"),
    path("c/<slug:slug>/join/", challenge.join, name="join"),
    path("c/<slug:slug>/p/<slug:phase_slug>/", challenge.phase_page, name="phase"),
    path("c/<slug:slug>/p/<slug:phase_slug>/object/", challenge.object_to, name="object"),
    path("c/<slug:slug>/p/<slug:phase_slug>/carry/", challenge.carry, name="carry"),
    path("c/<slug:slug>/p/<slug:phase_slug>/submit/", submission.submit, name="submit"),
    path("c/<slug:slug>/p/<slug:phase_slug>/leaderboard/", challenge.board, name="leaderboard"),
    path("c/<slug:slug>/p/<slug:phase_slug>/report/", challenge.report, name="report"),
    path("c/<slug:slug>/p/<slug:phase_slug>/compare/", challenge.compare, name="compare"),
    path("s/<uuid:submission_id>/", submission.detail, name="submission"),
    path("s/<uuid:submission_id>/live/", submission.live, name="submission-live"),
    path("s/<uuid:submission_id>/cancel/", submission.cancel, name="cancel"),
    path("s/<uuid:submission_id>/decide/", submission.decide, name="decide"),
]
