"""Templates and style sheets stay readable: formatted, short lines, one declaration each."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APPS = ROOT / "platform" / "assay"
LONGEST_LINE = 120


def templates() -> list[Path]:
    found = [path for path in APPS.rglob("*.html") if "templates" in path.parts]
    assert len(found) > 30
    return found


def style_sheets() -> list[Path]:
    found = [path for path in APPS.rglob("*.css") if "vendor" not in path.parts]
    assert found
    return found


def test_templates_are_formatted():
    formatter = Path(sys.executable).with_name("djangofmt")
    checked = subprocess.run([formatter, "--check", "platform"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, f"{checked.stdout}{checked.stderr}\nRun `make format`."


def test_no_line_of_a_template_or_a_style_sheet_is_long():
    long = [
        f"{path.relative_to(ROOT)}:{number}: {len(line)} characters"
        for path in (*templates(), *style_sheets())
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(line) > LONGEST_LINE
    ]
    assert long == []


def test_a_style_sheet_has_one_declaration_a_line():
    crowded = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in style_sheets()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r";\s*[^\s/]", line) or re.search(r"\{\s*[^\s/]", line)
    ]
    assert crowded == []


def test_pictures_are_made_in_python():
    """`pages/svg.py` escapes what they hold. A template only says where a picture goes."""
    drawn = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in templates()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"<(svg|path|circle|rect|line|polyline|polygon)\b", line)
    ]
    assert drawn == []


def test_what_repeats_is_an_include_or_a_tag():
    """Each of these was written out on many pages. It stands in one place of `pages` now."""
    once = {
        'class="scroll"': "{% table %}",
        'class="checks"': "pages/_checks.html",
        "data-upload-panel": "pages/_upload_panel.html",
        'type="file" name="archive"': ("organizers/_upload_form.html", "portal/submit.html"),
        "non_field_errors": ("pages/_form_errors.html", "pages/_every_error.html"),
        "field.errors": ("pages/_field.html", "pages/_every_error.html"),
        'rel="next" href="{% query page': "pages/_pages.html",
    }
    again = [
        f"{path.relative_to(ROOT)}: {markup}, use {place}"
        for path in templates()
        for markup, place in once.items()
        if markup in path.read_text() and not path.as_posix().endswith(place)
    ]
    assert again == []


def test_a_form_is_never_included_without_the_page_around_it():
    """`{% include … only %}` drops the secret of forms. What such a form sends is refused, and nothing says so before."""
    by_name = {"/".join(path.parts[path.parts.index("templates") + 1 :]): path.read_text() for path in templates()}
    alone = {
        f"{place}: {included}"
        for place, text in by_name.items()
        for included in re.findall(r"""{% include ["']([^"']+)["'][^%]* only %}""", text)
        if "{% csrf_token %}" in by_name[included]
    }
    assert alone == set()
