"""An EvalAI challenge: `challenge_config.yaml` with HTML pages, phases and splits, in a folder or a zip."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from assay.client.importing.draft import Draft, DraftCase, DraftPhase, Notes, slug_of
from assay.client.importing.options import Options
from assay.client.importing.platforms import cases_from, opened, phase_slug, read_page, unique_phases
from assay.client.importing.sources import Place, inside, read_document

FILES = ("challenge_config.yaml", "challenge_config.yml")


def recognises(source: Path) -> bool:
    """Whether this folder holds a `challenge_config.yaml`."""
    return any((source / name).is_file() for name in FILES)


def read_evalai(source: Path, *, options: Options, stack: ExitStack) -> Draft:
    """Read an opened challenge."""
    file = next(source / name for name in FILES if (source / name).is_file())
    root = read_document(file)
    notes = Notes()
    title = options.title or root.need("title", expected="the challenge's title").text()
    slug = options.slug or slug_of(title)
    places = root.need("challenge_phases", expected="a list").sequence()
    phases: list[DraftPhase] = []
    testsets: dict[str, tuple[DraftCase, ...]] = {}
    rules = None
    for number, place in enumerate(places):
        phase = _phase(place, number=number, notes=notes)
        annotation = place.get("test_annotation_file")
        cases, own = cases_from(
            references=_annotations(source, annotation, stack),
            inputs=None,
            options=options,
            name=slug,
            title=title,
            notes=notes,
            where=f"{file.name}: challenge_phases[{number}].test_annotation_file",
        )
        rules = rules or own
        if cases:
            testsets[phase.slug] = cases
            phase = replace(phase, testset=phase.slug)
        phases.append(phase if own == rules else replace(phase, protocol=own))
    pages = {}
    for name in ("description", "evaluation_details", "submission_guidelines", "terms_and_conditions"):
        page = root.get(name)
        if page is not None and page.text().endswith((".html", ".md")):
            pages[name] = read_page(page, source)
    for name in pages:
        notes.taken(
            f"{file.name}: {name}",
            "the rules page" if name == "terms_and_conditions" else "a section of the description",
        )
    script = root.get("evaluation_script")
    kept = {}
    if script is not None:
        path = source / script.text()
        if path.exists():
            kept = {f"evaluation-script{path.suffix}": inside(source, script)}
        notes.missing(
            f"{file.name}: evaluation_script",
            "Python code of the organizers, kept as it is. Assay scores with its own metrics",
        )
    used = {"title", "challenge_phases", "evaluation_script", "short_description", *pages}
    for key in root.mapping():
        if key not in used and root.get(key) is not None:
            notes.missing(f"{file.name}: {key}", str(root.mapping()[key].value)[:60])
    summary = root.get("short_description")
    terms = pages.pop("terms_and_conditions", "")
    return Draft(
        format="EvalAI challenge",
        slug=slug,
        title=title,
        protocol=rules or {},
        phases=unique_phases(phases, where=file.name),
        notes=tuple(notes.lines),
        summary=summary.text()[:200] if summary is not None else "",
        description="\n\n".join(f"## {name.replace('_', ' ').capitalize()}\n\n{text}" for name, text in pages.items()),
        rules=terms,
        testsets=testsets,
        kept=kept,
    )


def _annotations(source: Path, place: Place | None, stack: ExitStack) -> Path | None:
    """The folder of the phase's annotations. Of one file, a folder that holds it alone."""
    if place is None or not place.text():
        return None
    path = inside(source, place)
    if path.is_dir():
        return path
    return stack.enter_context(opened(path)) if path.suffix.lower() == ".zip" else path.parent


def _phase(place: Place, *, number: int, notes: Notes) -> DraftPhase:
    title = place.need("name", expected="the phase's name").text()
    start, end = place.need("start_date", expected="a time"), place.need("end_date", expected="a time")
    if end.moment() <= start.moment():
        raise end.error("is not after the start", expected=f"later than {start.moment():%Y-%m-%d %H:%M}")
    per_day, total, per_month = (place.get(f"max_submissions{suffix}") for suffix in ("_per_day", "", "_per_month"))
    if per_month is not None:
        notes.missing(
            f"challenge_phases[{number}].max_submissions_per_month", "a phase has one window; the daily limit is taken"
        )
    public = place.get("leaderboard_public")
    codename = place.get("codename")
    notes.taken(f"challenge_phases[{number}]", f"{title}: dates and limits")
    return DraftPhase(
        slug=phase_slug(codename.text() if codename is not None else title, number),
        title=title,
        opens_at=start.moment(),
        closes_at=end.moment(),
        kind="predictions",
        submission_limit=per_day.whole() if per_day is not None else None,
        submission_limit_total=total.whole() if total is not None else None,
        is_embargoed=public is not None and not public.flag(),
    )
