"""The report as one HTML file that needs nothing else: no script, no font, no picture from elsewhere."""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from html import escape
from typing import Any

from evaluator.protocol import Protocol
from evaluator.ranking.analysis import Neighbours
from evaluator.ranking.engine import RankEntry
from evaluator.ranking.rank_files import ranks_rows, span
from evaluator.reports.checklist import items
from evaluator.reports.data import ReportData

STYLE = """
:root { --ink: #1f2a37; --soft: #5b6775; --line: #d3d9e0; --paper: #ffffff; --card: #f6f8fa; --accent: #0072b2; --blue: #0072b2; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e4e9ee; --soft: #a3afbb; --line: #3a4551; --paper: #12181f; --card: #1a222b; --accent: #56b4e9; --blue: #3d9be0; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 80rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { margin: 3rem 0 .75rem; padding-top: .75rem; border-top: 1px solid var(--line); font-size: 1.35rem; }
h3 { margin: 2rem 0 .5rem; font-size: 1.05rem; }
p, li { max-width: 46rem; }
.soft, figcaption, caption { color: var(--soft); font-size: .9rem; }
nav { margin: 1rem 0 0; display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .9rem; }
a { color: var(--accent); }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1.25rem 0; }
dl div { background: var(--card); border-radius: 6px; padding: .6rem .8rem; }
dt { color: var(--soft); font-size: .8rem; } dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .4rem; caption-side: top; }
caption span { display: block; position: sticky; left: 0; max-width: min(46rem, calc(100vw - 2.5rem)); }
th, td { padding: .35rem .6rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
table.heat thead th { white-space: normal; vertical-align: bottom; }
table.heat tbody td:first-child { white-space: pre; }
table.heat td span { display: block; margin: -.35rem -.6rem; padding: .35rem .6rem;
  background: color-mix(in srgb, var(--blue) calc(var(--share) * 38%), transparent); }
small { color: var(--soft); white-space: nowrap; }
figure { margin: 1.25rem 0; } figure .wide { margin: 0; }
figure svg { width: 100%; height: auto; min-width: 34rem; max-width: 48rem; display: block; }
.figures { columns: 2 34rem; column-gap: 2rem; } .figures figure { margin: 0; padding: .6rem 0; break-inside: avoid; }
details { margin: .75rem 0; border: 1px solid var(--line); border-radius: 6px; padding: .6rem .9rem; }
summary { cursor: pointer; font-weight: 600; }
.note { border-left: 3px solid #e69f00; background: var(--card); padding: .5rem .9rem; margin: .5rem 0; max-width: 46rem; }
.unstated { color: var(--soft); font-style: italic; }
code { font-size: .85em; overflow-wrap: anywhere; }
@media print {
  :root, body { font-size: 10.5px; } body { max-width: none; padding: 0; } nav { display: none; } figure svg { min-width: 0; }
  h2 { margin-top: 1.5rem; } .figures { columns: 2; column-gap: 1.2rem; }
  h2, h3, caption { break-after: avoid; } figure, tr { break-inside: avoid; } .wide { overflow: visible; }
  details::details-content { content-visibility: visible; height: auto; }
}
"""


def document(*, title: str, body: Iterable[str]) -> str:
    """The whole page."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}: ranking report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def head(data: ReportData, sections: Mapping[str, str]) -> str:
    """Title, what was ranked, cautions, and the way to the sections."""
    analysis, config = data.analysis, data.analysis.ranking.config
    facts = {
        "algorithms": str(len(analysis.ranking.entries)),
        "cases": str(data.table.case_count),
        "metrics": ", ".join(spec.id for spec in config.metrics),
        "bootstrap replicates": f"{analysis.bootstrap} (seed {analysis.seed})",
        "mean Kendall tau": number(analysis.tau.mean),
        "input": analysis.ranking.input_sha256[:16],
    }
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in facts.items())
    cautions = [*analysis.warnings, *analysis.ranking.notes]
    if len(analysis.algorithms) > len(data.algorithms):
        cautions.append(
            f"figures show the best {len(data.algorithms)} of {len(analysis.algorithms)} algorithms; tables, all"
        )
    notes = "".join(f'<p class="note">{escape(text)}</p>' for text in cautions)
    links = "".join(f'<a href="#{anchor}">{escape(text)}</a>' for anchor, text in sections.items())
    title = f'<h1>{escape(data.title)}</h1>\n<p class="soft">{escape(_summary(data))}</p>'
    return f"{title}\n<nav>{links}</nav>\n<dl>{cells}</dl>\n{notes}"


def _summary(data: ReportData) -> str:
    """What the board says, in a sentence or two."""
    entries = [entry for entry in data.analysis.ranking.entries if entry.rank is not None]
    if not entries:
        return "No algorithm could be ranked."
    leaders = [entry.algorithm for entry in entries if entry.rank == entries[0].rank]
    first = f"{_joined(leaders)} share first place" if len(leaders) > 1 else f"{leaders[0]} ranks first"
    if len(leaders) == 1 and data.analysis.bootstrap:
        first += f"; this holds in {data.analysis.winner_shares[0]:.0%} of the bootstrap replicates"
    parts = [f"{first}."]
    sets = data.analysis.sets
    if sets is not None and len(sets.leaders) > 1:
        others = [
            data.analysis.algorithms[index] for index in sets.leaders if data.analysis.algorithms[index] not in leaders
        ]
        if others:
            named = others[0] if len(others) == 1 else _joined(others)
            parts.append(
                f"All pairs compared at once, the data do not separate {named} from the winner ({sets.confidence:.0%})."
            )
    nearest = next((pair for pair in data.analysis.neighbours if pair.better == leaders[-1]), None)
    if nearest is not None:
        word = "is" if nearest.is_separable else "is not"
        parts.append(f"The lead over {nearest.worse} {word} statistically significant ({p_words(nearest.p)}, Holm).")
    return " ".join(parts)


def _joined(names: Sequence[str], *, most: int = 5) -> str:
    """`a, b and c`. Of many names the first few and how many more."""
    named, rest = list(names[:most]), len(names) - most
    return f"{', '.join(named)} and {rest} more" if rest > 0 else f"{', '.join(named[:-1])} and {named[-1]}"


def section(anchor: str, title: str, *parts: str) -> str:
    """A section of the page."""
    return f'<h2 id="{anchor}">{escape(title)}</h2>\n' + "\n".join(part for part in parts if part)


def heading(text: str) -> str:
    """A heading inside a section."""
    return f"<h3>{escape(text)}</h3>"


def folded(summary: str, *parts: str) -> str:
    """Parts that open at a click."""
    return f"<details><summary>{escape(summary)}</summary>" + "\n".join(part for part in parts if part) + "</details>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def figure(svg: str, caption: str) -> str:
    """A figure with its caption."""
    return f'<figure><div class="wide" tabindex="0">{svg}</div><figcaption>{escape(caption)}</figcaption></figure>'


def gallery(*figures: str) -> str:
    """Figures side by side where there is room. Nothing where there is none."""
    shown = "\n".join(each for each in figures if each)
    return f'<div class="figures">\n{shown}\n</div>' if shown else ""


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], *, caption: str = "", kind: str = "") -> str:
    """A table. Numbers stand right. `kind` is a class of the style sheet."""
    body = []
    numeric = [True] * len(header)
    rows = [list(row) for row in rows]
    for row in rows:
        numeric = [
            is_number and (cell is None or isinstance(cell, int | float | Number))
            for is_number, cell in zip(numeric, row, strict=True)
        ]
    for row in rows:
        cells = "".join(_cell(cell, is_number=is_number) for cell, is_number in zip(row, numeric, strict=True))
        body.append(f"<tr>{cells}</tr>")
    names = "".join(
        f'<th scope="col"{" class=number" if is_number else ""}>{escape(name)}</th>'
        for name, is_number in zip(header, numeric, strict=True)
    )
    text = f"<caption><span>{escape(caption)}</span></caption>" if caption else ""
    named = f' class="{kind}"' if kind else ""
    return f'<div class="wide" tabindex="0"><table{named}>{text}<thead><tr>{names}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _cell(cell: Any, *, is_number: bool) -> str:
    text = number(cell) if cell is None or isinstance(cell, int | float) else cell
    shown = text if isinstance(text, Markup) else escape(str(text))
    return f"<td{' class=number' if is_number else ''}>{shown}</td>"


class Markup(str):
    """Text that is HTML already. The caller has escaped everything in it."""

    __slots__ = ()


class Number(Markup):
    """HTML that stands where numbers stand."""

    __slots__ = ()


def shaded(value: float, share: float, *, is_best: bool) -> Number:
    """A value on a background from none (`share` 0, the worst) to full (1, the best)."""
    if value != value:
        return Number("–")
    plain = f"{value:.3f}" if abs(value) < 10 else number(value)
    text = f"<b>{plain}</b>" if is_best else plain
    return Number(f'<span style="--share: {share:.2f}">{text}</span>')


def with_note(value: float, note: str) -> Number:
    """A value with a small word behind it."""
    return Number(f"{number(value)} <small>{escape(note)}</small>")


def short_number(value: float) -> str:
    """Three significant digits, and all digits of a large number."""
    return "–" if value != value else f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def number(value: float | None) -> str:
    """Four significant digits, and all digits of a large number. A dash where there is nothing."""
    if value is None or value != value:
        return "–"
    if isinstance(value, int) or float(value).is_integer() or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.4f}" if 0.001 <= abs(value) < 10 else f"{value:.4g}"


def p_words(p: float) -> str:
    """A p-value as people read it."""
    return "p < 0.0001" if p < 0.0001 else f"p = {number(p)}"


def board(data: ReportData) -> str:
    """The ranking table."""
    analysis = data.analysis
    confidence = f"{analysis.confidence * 100:g} %"
    header = [
        "rank",
        f"{confidence} interval",
        *(["rank set"] if analysis.sets else []),
        "algorithm",
        "score",
        *analysis.metrics,
        "first in",
        "ahead of the next",
        "not measured",
    ]
    separable = {pair.better: pair for pair in analysis.neighbours}
    rows = []
    for entry in analysis.ranking.entries:
        index = analysis.algorithms.index(entry.algorithm) if entry.rank is not None else None
        interval = "–" if index is None else span(*analysis.rank_intervals[index])
        aggregates = [_with_interval(data, entry, name, index) for name in analysis.metrics]
        share = "–" if index is None or not analysis.bootstrap else f"{analysis.winner_shares[index]:.0%}"
        pair = separable.get(entry.algorithm)
        ahead = "–" if pair is None else _ahead(pair)
        missing = sum(count for reasons in entry.missing.values() for count in reasons.values())
        place = "–" if entry.rank is None else f"{entry.rank:g}"
        left_open = (
            []
            if analysis.sets is None
            else ["–" if index is None else span(analysis.sets.low[index], analysis.sets.high[index])]
        )
        rows.append([place, interval, *left_open, entry.algorithm, entry.score, *aggregates, share, ahead, missing])
    caption = (
        f"Metrics with their {confidence} intervals. “First in”: share of bootstrap replicates with rank 1. “Ahead of the "
        "next”: paired test against the algorithm below, Holm-adjusted; “claim false”: how probable it is that it is not better "
        "on average. “Not measured”: values missing or set by a convention."
    )
    if analysis.sets is not None:
        caption += (
            f" “Rank set”: the ranks that the data leave open, all of them right at once with {confidence} (bootstrap of the "
            "largest studentised difference, Mogstad et al. 2024)."
        )
    return table(header, rows, caption=caption)


def plan(data: ReportData) -> list[str]:
    """Is the test set big enough? Nothing where that cannot be said."""
    found = data.analysis.plan
    if found is None or not found.pairs:
        return []
    unit, test = f"{found.unit}s", found.test.replace("_", " ").replace("wilcoxon", "Wilcoxon")
    rows = [
        [
            f"{pair.better} / {pair.worse}",
            pair.difference,
            pair.units,
            pair.needed,
            None if pair.ratio is None else Number(f"{pair.ratio:.2g}"),
            pair.smallest,
            *(Number(f"± {width:.2g}") for width in pair.half_widths),
        ]
        for pair in found.pairs
    ]
    names = [
        "pair",
        "difference",
        unit,
        "needed",
        "there / needed",
        "smallest shown",
        "interval",
        f"2 × {unit}",
        f"5 × {unit}",
    ]
    caption = (
        f"Differences of {found.measure}. “Needed”: {unit} for {found.power:.0%} power of the {test} test at "
        f"{found.alpha:g}, if the true difference and spread are the observed ones. “Smallest shown”: the smallest true difference "
        f"that these {unit} find with that power. Intervals of the difference now, with twice and five times as many."
    )
    sums = [
        f"{what}: {'no number would do' if needed is None else f'at most {needed} {unit}'}"
        for what, needed in (
            ("The winner before every other", found.winner),
            ("Every neighbouring pair at once", found.ranking),
        )
    ]
    return [table(names, rows, caption=caption), *(paragraph(f"{text}.") for text in sums)]


EQUIVALENCE = ("pair", "difference", "from", "to", "p (Holm)", "verdict")


def equivalence(data: ReportData, metric: str) -> list[list[Any]]:
    """A row for each pair of neighbours and for each other pair with the winner: what the margin of a metric says of it."""
    part, names = data.analysis.metrics[metric], data.analysis.algorithms
    found, tests = part.equivalence, part.tests
    if found is None or tests is None:
        return []
    last = len(names) - 1
    pairs = dict.fromkeys([*((i, i + 1) for i in range(last)), *((0, j) for j in range(1, len(names)))])
    return [
        [
            f"{names[i]} / {names[j]}",
            float(found.difference[i, j]),
            float(found.low[i, j]),
            float(found.high[i, j]),
            float(found.adjusted[i, j]),
            _verdict(bool(found.is_equivalent[i, j]), bool(tests.is_better[i, j] or tests.is_better[j, i])),
        ]
        for i, j in pairs
    ]


def _verdict(is_equal: bool, differs: bool) -> str:
    if is_equal:
        return "equal, and the small difference is real" if differs else "equal"
    return "different" if differs else "open"


def equal_words(data: ReportData, metric: str) -> str:
    """What the table of a metric's equivalence shows."""
    found = data.analysis.metrics[metric].equivalence
    if found is None:
        return ""
    return (
        f"{metric}: mean differences below {found.margin:g} do not matter. “Equal”: two one-sided paired tests, Student's and "
        f"Hall's for skewed differences, show that the true mean difference lies within ± {found.margin:g} (p by Holm over all pairs, "
        f"α = {found.alpha:g}). From, to: the interval of {1 - 2 * found.alpha:.0%} of both. “Open”: these cases show neither a "
        "difference nor equality."
    )


def _ahead(pair: Neighbours) -> Markup:
    verdict = f"{'yes' if pair.is_separable else 'no'}, {escape(p_words(pair.p))}"
    doubt = "" if pair.false_claim != pair.false_claim else f"<br><small>claim false: {pair.false_claim:.1%}</small>"
    return Markup(verdict + doubt)


def _with_interval(data: ReportData, entry: RankEntry, metric: str, index: int | None) -> Markup:
    if index is None:
        return Markup("–")
    interval = data.analysis.metrics[metric].interval
    low, high = short_number(interval.low[index]), short_number(interval.high[index])
    return Markup(f"{number(entry.aggregates.get(metric))}<br><small>{low} – {high}</small>")


def checklist(data: ReportData, protocol: Protocol | None = None) -> str:
    """What protocol and configuration answer, and what they leave open."""
    config = data.analysis.ranking.config
    ran = replace(config.stability, bootstrap=data.analysis.bootstrap, seed=data.analysis.seed)
    rows = "".join(
        f'<tr><th scope="row">{escape(item.heading)}</th><td{"" if item.is_stated else " class=unstated"}>{escape(item.text)}</td></tr>'
        for item in items(replace(config, stability=ran), protocol)
    )
    return f'<div class="wide"><table><tbody>{rows}</tbody></table></div>'


def downloads(data: ReportData) -> str:
    """The ranks as CSV and the analysis as JSON, inside the page."""
    rows = list(ranks_rows(data.analysis))
    lines = (
        [",".join(rows[0])] + [",".join("" if v is None else str(v) for v in row.values()) for row in rows]
        if rows
        else []
    )
    files = {
        "ranks.csv": ("text/csv", "\n".join(lines) + "\n"),
        "analysis.json": ("application/json", json.dumps(data.analysis.to_json())),
    }
    links = [
        f'<a download="{name}" href="data:{kind};base64,{b64encode(text.encode()).decode()}">{name}</a>'
        for name, (kind, text) in files.items()
    ]
    return f"<p>{' · '.join(links)}</p>"
