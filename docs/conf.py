"""How Sphinx writes the site. `make docs` calls it through docs/site/build.py, which adds the generated pages first."""

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
