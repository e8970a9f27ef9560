"""A CodaBench bundle, version 2: `competition.yaml` with tasks, phases, pages, terms and leaderboard columns, in a folder or a zip.

The scoring program computes what only its author knows. It is kept beside the bundle, with a Dockerfile that makes a metric image of it.
Until organizers push that, the phases are scored by Assay's own metrics or by the protocol that is asked for.
"""

import json
import re
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from assay.client.importing.draft import Draft, DraftCase, DraftPhase, Notes, slug_of
from assay.client.importing.options import Options
from assay.client.importing.platforms import cases_from, opened, phase_slug, read_page, unique_phases
from assay.client.importing.sources import Place, inside, read_document

FILE = "competition.yaml"
FILES = (FILE, "competition.yml")
AS_JSON = (
    "{ [ -f /app/output/scores.json ] || python3 -c \"import json; p = '/app/output/scores.'; "
    "json.dump({k.strip(): float(v) for k, v in (row.split(':') for row in open(p + 'txt') if ':' in row)}, open(p + 'json', 'w'))\"; }"
)
"""Old programs write scores.txt, a `key: value` a line."""


def recognises(source: Path) -> bool:
    """Whether this folder holds a `competition.yaml`."""
    return any((source / name).is_file() for name in FILES)


def read_codabench(source: Path, *, options: Options, stack: ExitStack) -> Draft:
    """Read an opened bundle. Zips inside it stay unpacked until `stack` closes."""
    file = next(source / name for name in FILES if (source / name).is_file())
    root = read_document(file)
    version = root.get("version")
    if version is not None and version.text() != "2":
        raise version.error(
            "is another version of the format", expected="2: CodaBench's; CodaLab's 1 was replaced by it"
        )
    notes = Notes()
    title = options.title or root.need("title", expected="the competition's title").text()
    slug = options.slug or slug_of(title)
    tasks = {
        task.need("index", expected="a number").whole(): task
        for task in root.need("tasks", expected="a list").sequence()
    }
    if not tasks:
        raise root.need("tasks", expected="").error("lists no task", expected="one task or more")
    testsets: dict[str, tuple[DraftCase, ...]] = {}
    rules: dict[int, dict[str, Any]] = {}
    kept: dict[str, Path] = {}
    for index, task in tasks.items():
        name = f"task-{index}"
        cases, rules[index] = cases_from(
            references=_folder(source, task.get("reference_data"), stack),
            inputs=_folder(source, task.get("input_data"), stack),
            options=options,
            name=slug,
            title=title,
            notes=notes,
            where=f"{FILE}: tasks[{index}]",
        )
        if cases:
            testsets[name] = cases
        kept |= _programs(source, task, index=index, notes=notes, stack=stack, image=_image(root))
    first = next(iter(rules.values()))
    phases = [
        _phase(place, number=number, tasks=tasks, rules=rules, common=first, testsets=testsets, notes=notes)
        for number, place in enumerate(root.need("phases", expected="a list").sequence())
    ]
    description, terms = _pages(root, source, notes)
    _columns(root, notes)
    _others(root, notes)
    contact = root.get("contact_email")
    automatic = root.get("registration_auto_approve")
    return Draft(
        format="CodaBench bundle",
        slug=slug,
        title=title,
        protocol=first,
        phases=unique_phases(phases, where=FILE),
        notes=tuple(notes.lines),
        summary=_summary(root),
        description=description,
        rules=terms,
        contact=contact.text() if contact is not None else "",
        requires_approval=automatic is not None and not automatic.flag(),
        testsets=testsets,
        kept=kept,
    )


def _summary(root: Place) -> str:
    place = root.get("description")
    return place.text().splitlines()[0][:200] if place is not None and place.text() else ""


def _folder(source: Path, place: Place | None, stack: ExitStack) -> Path | None:
    """A data set of the bundle: a folder, or a zip that is unpacked."""
    if place is None:
        return None
    text = place.text()
    if len(text) == 36 and text.count("-") == 4:
        raise place.error(
            "is the key of a data set on CodaBench's server",
            expected="a folder or a zip in the bundle",
            what_to_do="download the data set, put it into the bundle and name it here",
        )
    path = inside(source, place)
    return path if path.is_dir() else stack.enter_context(opened(path))


def _image(root: Place) -> str:
    """The image that CodaBench runs the programs in."""
    place = root.get("docker_image")
    return place.text() if place is not None and place.text() else "codalab/codalab-legacy:py37"


def _recipe(program: Path, *, target: str, image: str) -> str:
    """A Dockerfile that makes a metric image of a scoring program, or nothing where it does not say what to run."""
    files = [program / name for name in ("metadata.yaml", "metadata") if (program / name).is_file()]
    text = files[0].read_text(encoding="utf-8", errors="replace") if files else ""
    found = re.search(r"^command:[ \t]*(.+)$", text, flags=re.MULTILINE)
    if found is None:
        return ""
    command = found[1].strip().strip("\"'")
    for word, place in (("$program", "/app/program"), ("$input", "/app/input"), ("$output", "/app/output")):
        command = command.replace(word, place)
    words = json.dumps(["sh", "-c", f"{command} && {AS_JSON}"])
    return f"FROM {image}\nCOPY {target} /app/program\nWORKDIR /app/program\nENTRYPOINT []\nCMD {words}\n"


def _programs(source: Path, task: Place, *, index: int, notes: Notes, stack: ExitStack, image: str) -> dict[str, Path]:
    kept = {}
    for key, folder in (("scoring_program", "scoring-program"), ("ingestion_program", "ingestion-program")):
        place = task.get(key)
        if place is None:
            continue
        target = f"{folder}-{index}"
        path = inside(source, place)
        if key == "scoring_program":
            path = path if path.is_dir() else stack.enter_context(opened(path))
            if recipe := _recipe(path, target=target, image=image):
                written = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "Dockerfile"
                written.write_text(recipe, encoding="utf-8")
                kept[target], kept[f"{target}.Dockerfile"] = path, written
                notes.changed(
                    f"{FILE}: tasks[{index}].{key}",
                    f"kept in {target}. To score with it: `docker build -t scores -f {target}.Dockerfile .`, `assay metric-image push`, "
                    "and in the phase's protocol `evaluation: {image: sha256:…, layout: codabench}` with a metric "
                    "`{name: external_score, id: KEY}` for each column",
                )
                continue
        kept[target] = path
        what = "computes the columns by its own code" if key == "scoring_program" else "calls submitted code"
        notes.missing(f"{FILE}: tasks[{index}].{key}", f"{what}; kept in {target}. Assay scores with its own metrics")
    return kept


def _phase(
    place: Place,
    *,
    number: int,
    tasks: dict[int, Place],
    rules: dict[int, dict[str, Any]],
    common: dict[str, Any],
    testsets: dict[str, tuple[DraftCase, ...]],
    notes: Notes,
) -> DraftPhase:
    title = place.need("name", expected="the phase's name").text()
    chosen = [item.whole() for item in place.need("tasks", expected="a list of task indexes").sequence()]
    unknown = [index for index in chosen if index not in tasks]
    if unknown or not chosen:
        raise place.need("tasks", expected="").error("names a task that does not exist", expected=f"of {sorted(tasks)}")
    if len(chosen) > 1:
        notes.missing(
            f"{FILE}: phases[{number}].tasks", f"only task {chosen[0]} is scored; make a phase for each of the others"
        )
    start, end = place.need("start", expected="a time").moment(), place.get("end")
    per_day, total = place.get("max_submissions_per_day"), place.get("max_submissions")
    only_results = place.get("accepts_only_result_submissions")
    if only_results is None or not only_results.flag():
        notes.changed(
            f"{FILE}: phases[{number}]",
            "code submissions become predictions: Assay runs container images, not loose code",
        )
    if end is not None and end.moment() <= start:
        raise end.error("is not after the start", expected=f"later than {start:%Y-%m-%d %H:%M}")
    for key in ("execution_time_limit", "auto_migrate_to_this_phase", "starting_kit", "public_data", "hide_output"):
        value = place.get(key)
        if value is not None and value.value not in (False, "", 0):
            notes.missing(f"{FILE}: phases[{number}].{key}", f"{str(value.value)[:60]}")
    notes.taken(f"{FILE}: phases[{number}]", f"{title}: dates and limits")
    own = rules[chosen[0]]
    return DraftPhase(
        slug=phase_slug(title, number),
        title=title,
        opens_at=start,
        closes_at=end.moment() if end is not None else None,
        kind="predictions",
        testset=f"task-{chosen[0]}" if f"task-{chosen[0]}" in testsets else "",
        submission_limit=per_day.whole() if per_day is not None else None,
        submission_limit_total=total.whole() if total is not None else None,
        protocol=None if own == common else own,
    )


def _pages(root: Place, source: Path, notes: Notes) -> tuple[str, str]:
    """All pages as one description, and the terms as the rules."""
    texts = []
    pages = root.get("pages")
    for number, page in enumerate(pages.sequence() if pages is not None else []):
        title = page.need("title", expected="a title").text()
        texts.append(f"## {title}\n\n{read_page(page.need('file', expected='a file'), source)}")
        notes.changed(f"{FILE}: pages[{number}]", f"{title}: a section of the description")
    whole = root.get("description")
    if whole is not None and len(whole.text().splitlines()) > 1:
        texts.insert(0, whole.text())
    terms = root.get("terms")
    if terms is None:
        return "\n\n".join(texts), ""
    notes.taken(f"{FILE}: terms", "the rules page")
    return "\n\n".join(texts), read_page(terms, source)


def _columns(root: Place, notes: Notes) -> None:
    boards = root.get("leaderboards") or root.get("leaderboard")
    for number, board in enumerate(boards.sequence() if boards is not None else []):
        names = [
            column.need("title", expected="a title").text()
            for column in board.need("columns", expected="a list").sequence()
        ]
        notes.missing(
            f"{FILE}: leaderboards[{number}]", f"columns {', '.join(names)}: choose metrics for them in challenge.yaml"
        )


def _others(root: Place, notes: Notes) -> None:
    used = {"version", "title", "description", "terms", "pages", "tasks", "phases", "leaderboards", "leaderboard", "contact_email",
            "registration_auto_approve"}  # fmt: skip
    for key in root.mapping():
        if key not in used and root.get(key) is not None:
            notes.missing(f"{FILE}: {key}", str(root.mapping()[key].value)[:60])
