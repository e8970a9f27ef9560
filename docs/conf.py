"""How Sphinx writes the site. `make docs` calls it through docs/site/build.py, which adds the generated pages first."""

from functools import cache
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment.adapters.toctree import global_toctree_for_doc

DECISIONS = "developers/decisions/"

project = "Assay"
copyright = "The Assay authors, Apache-2.0"  # noqa: A001 - Sphinx asks for this name
extensions = ["myst_parser", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
root_doc = "index"
language = "en"
exclude_patterns = ["README.md"]

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4
nitpicky = True

html_theme = "furo"
html_title = "Assay"
html_favicon = "assets/icon.svg"
html_static_path = ["assets"]
html_css_files = ["assay.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_last_updated_fmt = None
highlight_language = "text"
pygments_style = "friendly"
pygments_dark_style = "monokai"
html_theme_options = {
    "light_logo": "icon.svg",
    "dark_logo": "icon.svg",
    "top_of_page_buttons": [],
    "light_css_variables": {
        "color-brand-primary": "#0b5f86",
        "color-brand-content": "#0b5f86",
        "color-brand-visited": "#0b5f86",
    },
    "dark_css_variables": {
        "color-brand-primary": "#6cc7ee",
        "color-brand-content": "#6cc7ee",
        "color-brand-visited": "#6cc7ee",
    },
}


def setup(app: Sphinx) -> None:
    """Called by Sphinx before it builds."""
    app.connect("html-page-context", open_own_branch_only, priority=400)  # before the theme, at 500, asks for the tree


def open_own_branch_only(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], _doctree: nodes.document | None
) -> None:
    """Leave the branches of other folders out of a page's navigation.

    The theme puts every page of the site into the navigation of every page. With 420 pages that was four fifths of the build.
    A decision has the navigation of their list, which is made once for all of them.
    """
    tree = context["toctree"]
    if page.startswith(DECISIONS):
        context["toctree"] = lambda **_wanted: navigation_of_decisions(app)
    else:
        context["toctree"] = lambda **wanted: tree(**{**wanted, "collapse": True})


@cache
def navigation_of_decisions(app: Sphinx) -> str:
    """The navigation of the list of decisions. Links are relative, so it is the same for every page of its folder."""
    place = f"{DECISIONS}index"
    tree = global_toctree_for_doc(
        app.env, place, app.builder, tags=app.tags, collapse=True, titles_only=True, maxdepth=-1, includehidden=True
    )
    navigation: str = app.builder.render_partial(tree)["fragment"]  # type: ignore[attr-defined]  # it writes HTML
    return navigation.replace('href="#"', 'href="index.html"')  # the list links to itself as "#"
