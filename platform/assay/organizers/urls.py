"""Where the organizers' pages live."""

from django.urls import path

from assay.organizers import (
    after,
    cases,
    desk,
    hooks,
    logs,
    metric_images,
    moving,
    news,
    operations,
    people,
    rejudging,
    rights,
    rules,
    sites,
    testsets,
    views,
)

app_name = "organizers"
urlpatterns = [
    path("organize/", views.new, name="new"),
    path("ops/rights/", rights.rights, name="rights"),
    path("ops/", operations.operations, name="operations"),
    path("c/<slug:slug>/manage/", views.overview, name="overview"),
    path("c/<slug:slug>/manage/publish/", views.publish_challenge, name="publish-challenge"),
    path("c/<slug:slug>/manage/document/", views.document, name="document"),
    path("c/<slug:slug>/manage/p/<slug:phase_slug>/", views.phase_action, name="phase-action"),
    path("c/<slug:slug>/manage/p/<slug:phase_slug>/rejudge/", rejudging.rejudge, name="rejudge"),
    path("c/<slug:slug>/manage/move/", moving.move_challenge, name="move"),
    path("c/<slug:slug>/manage/p/<slug:phase_slug>/move/", moving.move_phase, name="phase-move"),
    path("c/<slug:slug>/manage/texts/", desk.texts, name="texts"),
    path("c/<slug:slug>/manage/phases/new/", desk.new_phase, name="phase-new"),
    path("c/<slug:slug>/manage/p/<slug:phase_slug>/edit/", desk.phase, name="phase-edit"),
    path("c/<slug:slug>/manage/p/<slug:phase_slug>/rules/", rules.rules, name="rules"),
    path("c/<slug:slug>/manage/p/<slug:phase_slug>/after/", after.after, name="after"),
    path("c/<slug:slug>/manage/testsets/", testsets.testsets, name="testsets"),
    path("c/<slug:slug>/manage/metrics/", metric_images.metric_images, name="metric-images"),
    path("c/<slug:slug>/manage/submissions/", views.submissions, name="submissions"),
    path("c/<slug:slug>/manage/submissions/<uuid:submission_id>/", views.submission, name="submission"),
    path("c/<slug:slug>/manage/submissions/<uuid:submission_id>/cases/<str:case_id>/", cases.case_page, name="case"),
    path(
        "c/<slug:slug>/manage/submissions/<uuid:submission_id>/cases/<str:case_id>/<slug:kind>/<path:file_name>",
        cases.case_file,
        name="case-file",
    ),
    path("c/<slug:slug>/manage/submissions/<uuid:submission_id>/logs/<uuid:case_run_id>", logs.log, name="log"),
    path("c/<slug:slug>/manage/people/", people.people, name="people"),
    path("c/<slug:slug>/manage/people/invites/", people.invites, name="invites"),
    path("c/<slug:slug>/manage/people/downloads/", people.downloads, name="downloads"),
    path("c/<slug:slug>/manage/hooks/", hooks.hooks, name="hooks"),
    path("c/<slug:slug>/manage/news/", news.news, name="news"),
    path("c/<slug:slug>/manage/sites/", sites.sites, name="sites"),
    path("c/<slug:slug>/manage/audit/", views.audit, name="audit"),
]
