"""Sections in the field's own shape: chosen by the protocol document, right to the digit, and drawn for every kind there is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from evaluator.errors import ProtocolError
from evaluator.protocol import load_named_protocol, load_protocol, named_protocols
from evaluator.ranking import ScoreTable, parse_ranking
from evaluator.ranking.analysis import analyse
from evaluator.ranking.schemes.prepare import prepare
from evaluator.reports import shapes, write_report
from evaluator.reports.counting import groups_by, rank_by, rounds_of, tie_groups, tree
from evaluator.reports.data import gather
from evaluator.reports.output import png
from evaluator.reports.sections import MAKERS, TITLES, make_section
from evaluator.reports.theme import style

DOCUMENT = {
    "protocol": 1,
    "name": "organs",
    "labels": {"spleen": {"values": 1, "tolerance_mm": 1}, "liver": {"values": 2, "tolerance_mm": 1}},
    "inputs": [{"name": "ct", "file": "{case}.nii.gz"}],
    "outputs": [{"name": "segmentation", "kind": "label_map", "file": "{case}.nii.gz"}],
    "metrics": [{"name": "dice"}, {"name": "hd95"}, {"name": "wall_seconds", "id": "time"}],
    "conventions": {"failed": {"dice": 0, "hd95": 100, "time": 60}},
    "ranking": {"metrics": ["dice", "hd95"], "scheme": {"type": "sum_of_ranks", "rank_at": ["structure"]}},
}
DICE = {  # algorithm → (spleen, liver) in case 1, in case 2
    "Anna at A": ((0.9, 0.8), (0.7, 0.8)),
    "Berta": ((0.6, 0.9), (0.6, 0.7)),
    "Carla": ((0.5, 0.5), (0.5, 0.5)),
}
HD95 = {"Anna at A": 4.0, "Berta": 2.0, "Carla": 9.0}


def protocol_with(*report):
    return load_protocol({**DOCUMENT, "report": list(report)})


def table(*, repeats: int = 1) -> ScoreTable:
    rows, attributes = [], {}
    for case in range(2 * repeats):
        name = f"c{case}"
        attributes[name] = {"domain": "in" if case % 2 == 0 else "out", "site": "AB"[case % 2], "task": "xy"[case % 2]}
        for algorithm, values in DICE.items():
            for label, value in zip(("spleen", "liver"), values[case % 2], strict=True):
                rows.append((algorithm, name, label, "dice", value, ""))
                rows.append((algorithm, name, label, "hd95", HD95[algorithm], ""))
                rows.append((algorithm, name, label, "dice@0", value / 2, ""))
            rows.append((algorithm, name, "", "time", 12000.0, ""))
    return ScoreTable.from_rows(rows, attributes=attributes)


@dataclass
class Drawings:
    """Keeps what was drawn, as pictures."""

    pictures: dict[str, bytes] = field(default_factory=dict)

    def show(self, name, drawn, caption):
        self.pictures[name] = png(drawn)
        return f"<figure>{caption}</figure>"


def section_of(section, *, scores: ScoreTable | None = None) -> tuple[str, dict[str, bytes]]:
    """The one section of a protocol that lists it, and its pictures."""
    protocol, scores = protocol_with(section), scores or table()
    data = gather(scores, analyse(scores, parse_ranking(protocol.ranking), bootstrap=5), title="T")
    drawings = Drawings()
    with style():
        parts = make_section(protocol.report[0], data=data, protocol=protocol, gallery=drawings)
    return "\n".join(parts), drawings.pictures


def rows_below(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table after a heading, as text."""
    rest = text[text.index(heading) :]
    body = rest[: rest.index("</table>")]
    rows = re.findall(r"<tr>(.*?)</tr>", body, flags=re.DOTALL)
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split("±")[0].split()) for cell in _cells(row)] for row in rows]


def _cells(row: str) -> Sequence[str]:
    return re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL)


def test_the_table_of_structures_has_the_protocols_order_and_the_right_means():
    text, _ = section_of("structures")
    header, second, first, _ = rows_below(text, "Dice of each structure")  # Berta leads: her HD95 is half of Anna's
    assert header == ["algorithm", "mean", "spleen", "liver"]
    assert first == ["Anna at A", "0.800", "0.800", "0.800"]  # (0.9 + 0.7) / 2, (0.8 + 0.8) / 2
    assert second == ["Berta", "0.700", "0.600", "0.800"]
    assert text.count("<b>0.800</b>") == 3  # Anna's spleen, and the tie in the liver


def test_ranks_of_structures_add_up_as_by_hand():
    text, pictures = section_of("structure_ranks")
    # Dice: Anna 1 and 1 (the liver is a tie), Berta 2 and 1, Carla 3 and 3; HD95: Berta 1, Anna 2, Carla 3 in both.
    rows = {row[1]: row[2:5] for row in rows_below(text, "Algorithms of one tie group")[1:]}
    assert rows["Anna at A"] == ["1", "2", "1.5000"]
    assert rows["Berta"] == ["1.5000", "1", "1.2500"]
    assert rows["Carla"] == ["3", "3", "3"]
    assert set(pictures) == {"structure-ranks-dice", "structure-ranks-hd95"}


def test_the_rank_by_one_metric_is_that_metrics():
    config = parse_ranking(protocol_with().ranking)
    prepared = prepare(table(), config)
    assert prepared.algorithms == ("Anna at A", "Berta", "Carla")
    assert rank_by(prepared, "dice").tolist() == [1, 2, 3]  # sums of ranks 2, 3, 6
    assert rank_by(prepared, "hd95").tolist() == [2, 1, 3]


def test_ranks_by_metric_are_split_by_domain():
    text, pictures = section_of({"section": "metric_ranks", "by": "domain"})
    assert "domain: in, 1 cases" in text
    assert "domain: out, 1 cases" in text
    inside = {row[1]: row[2] for row in rows_below(text, "domain: in, 1 cases")[1:]}
    assert inside["Anna at A"] == "0.8500 (1)"  # spleen 0.9 ranks 1, liver 0.8 ranks 2: as Berta's 2 and 1
    assert inside["Berta"] == "0.7500 (1)"
    assert set(pictures) == {"split-domain-dice", "split-domain-hd95"}


def test_tie_groups_open_where_somebody_is_significantly_worse_than_the_leader():
    config = parse_ranking({"metrics": ["dice"], "scheme": "value", "significance": {"adjust": "none"}})
    random = np.random.default_rng(0)
    rows = [
        (name, f"c{case}", "", "dice", float(level + random.normal(0, 0.01)), "")
        for case in range(30)
        for name, level in (("a", 0.9), ("b", 0.9001), ("c", 0.5), ("d", 0.5001))
    ]
    prepared = prepare(ScoreTable.from_rows(rows), config)
    order = [prepared.algorithms.index(name) for name in "bacd"]
    assert tie_groups(prepared, order) == ["A", "A", "B", "B"]


def test_cases_fall_into_groups_and_branches():
    scores = table(repeats=2)
    assert groups_by(scores, "domain") == {"in": ["c0", "c2"], "out": ["c1", "c3"]}
    assert groups_by(scores, "vendor") == {}
    branches = [(depth, name, len(cases)) for depth, name, cases in tree(scores, ("domain", "task", "vendor"))]
    assert branches == [
        (0, "all", 4),
        *((1, "in", 2), (2, "x", 2), (3, "not said", 2)),
        *((1, "out", 2), (2, "y", 2), (3, "not said", 2)),
    ]


def test_the_tree_shows_every_branch_with_its_mean():
    text, _ = section_of({"section": "categories", "path": ["domain", "task"]})
    rows = rows_below(text, "Dice in every branch of domain › task")
    assert rows[0] == ["category", "cases", "Berta", "Anna at A", "Carla"]
    assert rows[1] == ["all", "2", "0.700", "0.800", "0.500"]
    assert rows[2][:3] == ["in", "1", "0.750"]


def test_the_matrix_needs_an_attribute_the_cases_have():
    text, pictures = section_of({"section": "matrix", "by": "site"})
    assert "framed where the algorithm's name says it was trained there" in text
    assert set(pictures) == {"matrix-dice", "matrix-hd95"}
    assert section_of({"section": "matrix", "by": "vendor"}) == ("<p>No case says its vendor.</p>", {})


def test_rounds_are_found_by_their_marks():
    assert rounds_of(table()) == {"dice": ["dice@0", "dice"]}
    text, pictures = section_of("curves")
    assert "Dice after each interaction" in text
    assert set(pictures) == {"curves-dice"}


def test_a_case_that_was_never_played_pulls_its_curve_down(monkeypatch):
    rows = [("a", "played", "spleen", "dice", 0.8, ""), ("a", "played", "spleen", "dice@0", 0.4, "")]
    rows += [("a", "stuck", "spleen", "dice", 0.0, "timeout"), ("b", "played", "spleen", "dice", 0.6, "")]
    rows += [("b", "played", "spleen", "dice@0", 0.2, ""), ("b", "stuck", "spleen", "dice", 0.6, "")]
    rows += [("b", "stuck", "spleen", "dice@0", 0.6, "")]
    rows += [(name, case, "spleen", "hd95", 1.0, "") for name in "ab" for case in ("played", "stuck")]
    drawn = []
    curves = shapes.round_curves
    monkeypatch.setattr(
        shapes, "round_curves", lambda values, *names, **more: drawn.append(values) or curves(values, *names, **more)
    )
    section_of("curves", scores=ScoreTable.from_rows(rows))
    assert sorted(drawn[0].round(3).tolist()) == [[0.2, 0.4], [0.4, 0.6]]  # a: (0.4 + 0) / 2, then (0.8 + 0) / 2


FROC = """
protocol: 1
name: nodules
labels: {nodule: {}}
outputs: [{name: s, kind: table, file: s.csv, cells: points_3d}]
metrics: [{name: froc, rule: each}]
report: [froc]
"""


def test_froc_is_drawn_over_rates_in_their_order(monkeypatch):
    """Two algorithms on two scans, of which the second has no nodule. Names of rates do not sort as their numbers do."""
    protocol, rates = load_protocol(FROC), (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
    rows = []
    for name, first in (("a", 0.2), ("b", 0.1)):
        points = [first + 0.1 * place for place in range(len(rates))]
        values = {
            "froc": np.mean(points),
            **{f"froc@{rate:g}": point for rate, point in zip(rates, points, strict=True)},
        }
        rows += [(name, "s1", "nodule", metric, value, "") for metric, value in values.items()]
        rows += [(name, "s2", "nodule", metric, None, "class_absent") for metric in values]
    scores = ScoreTable.from_rows(rows)
    data = gather(scores, analyse(scores, parse_ranking(protocol.ranking), bootstrap=5), title="T")
    drawn, drawings, curves = [], Drawings(), shapes.froc_curves
    monkeypatch.setattr(
        shapes,
        "froc_curves",
        lambda values, *names, **more: drawn.append((values, more)) or curves(values, *names, **more),
    )
    with style():
        text = "".join(make_section(protocol.report[0], data=data, protocol=protocol, gallery=drawings))
    ((values, more),) = drawn
    assert more == {"rates": list(rates)}
    assert values.round(6).tolist() == [[0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]]
    assert set(drawings.pictures) == {"froc-froc"}
    assert '<th scope="col" class=number>0.125</th>' in text
    assert "is the mean of these points" in text
    imported = ScoreTable.from_rows([row for row in rows if "@" not in row[3]])
    data = gather(imported, analyse(imported, parse_ranking(protocol.ranking), bootstrap=5), title="T")
    assert make_section(protocol.report[0], data=data, protocol=protocol, gallery=drawings) == []


@pytest.mark.slow
def test_significance_is_drawn_for_every_test_set():
    text, pictures = section_of({"section": "significance", "by": "site"}, scores=table(repeats=4))
    assert "site: A, 4 cases" in text
    assert set(pictures) == {f"p{group}-{metric}" for group in ("", "-A", "-B") for metric in ("dice", "hd95")}


@pytest.mark.slow
def test_a_report_has_the_sections_its_protocol_asks_for_right_after_the_ranking(tmp_path):
    protocol = protocol_with("structures", {"section": "matrix", "by": "site"})
    scores = table()
    write_report(
        scores, analyse(scores, parse_ranking(protocol.ranking), bootstrap=5),
        html=tmp_path / "r.html", folder=tmp_path / "files", title="T", protocol=protocol,
    )  # fmt: skip
    text = (tmp_path / "r.html").read_text()
    titles = re.findall(r'<h2 id="[^"]*">([^<]*)</h2>', text)
    assert titles[:3] == ["Ranking", "Structures and cost", "From one data set to another"]
    assert 'href="#own-1"' in text
    assert (tmp_path / "files/matrix-dice.png").stat().st_size > 5000
    assert "e+0" not in re.sub(
        r"<svg.*?</svg>|data:[^\"]*", "", text, flags=re.DOTALL
    )  # large numbers keep their digits


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"section": "matrix"}, "matrix without `by`"),
        ({"section": "categories"}, "categories without `path`"),
        ("pie", "pie"),
    ],
)
def test_a_section_that_cannot_be_made_is_refused_when_the_protocol_is_read(section, complaint):
    with pytest.raises(ProtocolError, match=re.escape(complaint)):
        protocol_with(section)


def test_every_section_has_a_maker_and_a_title_and_some_protocol_that_ships():
    used = {section.section for name in named_protocols() for section in load_named_protocol(name).report}
    assert used == set(MAKERS) == set(TITLES)


def test_the_normal_form_of_a_report_reads_back_to_itself():
    protocol = protocol_with("structures", {"section": "matrix", "by": "site"})
    assert load_protocol(protocol.document).sha256 == protocol.sha256
