"""Published rules of ranking: every preset with its source, and whether a published board confirms it."""

from collections.abc import Iterator

from markdown_text import table

from evaluator.ranking.document.presets import preset_document, preset_names

PLACE = "organizers/published-rankings.md"
OPENING = """# Published rules of ranking

`ranking: {preset: NAME}` in a protocol, or `assay rank scores.csv --preset NAME`, ranks as a challenge or a platform does. The source
says where the rule was read. A board says that the published ranks follow from what was published beside them. Most challenges do not
publish enough for that.

"""


def pages() -> Iterator[tuple[str, str]]:
    """The one page."""
    rows = []
    for name in preset_names():
        document = preset_document(name)
        rows.append(
            (
                f"`{name}`",
                document["title"],
                document["source"],
                document["board"],
                "; ".join(document.get("unconfirmed", ())) or "nothing",
            )
        )
    yield PLACE, OPENING + table(("preset", "rule", "source", "confirmed by a board", "unconfirmed"), rows)
