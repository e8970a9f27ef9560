"""Tables as tools, papers and platforms write them. Each is the same three scores, and must give the same ranking."""

import gzip
import json
import re
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from evaluator.commands.rank import rank
from evaluator.protocol import load_named_protocol
from evaluator.ranking import parse_ranking
from evaluator.ranking.document.slips import refuse_slips
from evaluator.ranking.score_files import FORMS, ScoresError, read_scores

DICE = {"a": {"c1": 0.9, "c2": 0.8}, "b": {"c1": 0.7, "c2": 0.6}, "c": {"c1": 0.95, "c2": 0.1}}
ORGANS = ("liver", "spleen")
PAIRS = [(name, case, value) for name, cases in DICE.items() for case, value in cases.items()]


HOLES = "algorithm,case,dice,hd95\na,c1,0.9,\na,c2,0.8,2\nb,c1,0.7,3\nb,c2,0.6,4\n"


def run(*arguments: object):
    return CliRunner().invoke(rank, [*map(str, arguments), "--bootstrap", "0"], catch_exceptions=False)


def write(folder: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return folder


def lines(header: str, rows) -> str:
    return "\n".join([header, *rows, ""])


LONG = lines("algorithm,case,metric,value", (f"{a},{c},dice,{v}" for a, c, v in PAIRS))
WIDE = lines("Model,Subject,Dice", (f"{a},{c},{v}" for a, c, v in PAIRS))
NNUNET = {
    name: {
        "metric_per_case": [
            {
                "metrics": {"1": {"Dice": v, "FN": 3, "n_ref": 9}},
                "prediction_file": f"/out/{case}.nii.gz",
                "reference_file": f"/data/labelsTs/{case}.nii.gz",
            }
            for case, v in cases.items()
        ],
        "mean": {"1": {"Dice": 0.5}},
        "foreground_mean": {"Dice": 0.5},
    }
    for name, cases in DICE.items()
}
NNUNET_V1 = {
    name: {
        "results": {
            "all": [
                {"1": {"Dice": v}, "reference": f"/r/{c}.nii.gz", "test": f"/t/{c}.nii.gz"} for c, v in cases.items()
            ],
            "mean": {"1": {"Dice": 0.5}},
        }
    }
    for name, cases in DICE.items()
}
GRAND_CHALLENGE = {
    "count": 3,
    "results": [
        {
            "pk": name,
            "submission": {"creator": {"username": name}, "created": "2026-01-01T00:00:00Z"},
            "outputs": [
                {
                    "interface": {"slug": "metrics-json-file"},
                    "value": {"case": {"Dice": cases}, "aggregates": {"Dice": {"mean": 0.5, "std": 0.1}}},
                }
            ],
        }
        for name, cases in DICE.items()
    ],
}
FORGE = {
    "results": [
        {
            "submission": {"creator": name},
            "outputs": [
                {
                    "socket": {"slug": "metrics-json-file"},
                    "value": {"results": [{"case": c, "metrics": {"dice": v}} for c, v in cases.items()]},
                }
            ],
        }
        for name, cases in DICE.items()
    ]
}

LAYOUTS: dict[str, tuple[dict[str, object], str, tuple[str, ...]]] = {
    "long": ({"s.csv": LONG}, "s.csv", ()),
    "wide, as most papers write it": ({"s.csv": WIDE}, "s.csv", ()),
    "gzipped": ({"s.csv.gz": gzip.compress(WIDE.encode())}, "s.csv.gz", ()),
    "semicolons and decimal commas": (
        {"s.csv": WIDE.replace(",", ";").replace(".", ",")},
        "s.csv",
        (),
    ),
    "tab-separated": ({"s.tsv": WIDE.replace(",", "\t")}, "s.tsv", ()),
    "a column per metric and organ": (
        {"s.csv": lines("Model,Case,liver_Dice,Spleen DSC", (f"{a},{c},{v},{v}" for a, c, v in PAIRS))},
        "s.csv",
        (),
    ),
    "a column per organ behind the metric": (
        {"s.csv": lines("Model,Case,Dice_liver,Dice_spleen,mean_Dice", (f"{a},{c},{v},{v},0.5" for a, c, v in PAIRS))},
        "s.csv",
        (),
    ),
    "a column per algorithm": (
        {"s.csv": lines("case,a,b,c", (",".join([c, *(str(DICE[a][c]) for a in DICE)]) for c in ("c1", "c2")))},
        "s.csv",
        ("--metric", "Dice"),
    ),
    "challengeR's data matrix": (
        {"s.csv": lines("task,alg_name,value,case", (f"T1,{a},{v},{c}" for a, c, v in PAIRS))},
        "s.csv",
        ("--metric", "dice"),
    ),
    "a folder with a file per algorithm": (
        {f"f/{a}.csv": lines("case,dice", (f"{c},{v}" for c, v in cases.items())) for a, cases in DICE.items()},
        "f",
        (),
    ),
    "what assay evaluate writes, a file per algorithm": (
        {
            f"f/{a}.csv": lines("case,label,metric,value,reason", (f"{c},liver,dice,{v}," for c, v in cases.items()))
            for a, cases in DICE.items()
        },
        "f",
        (),
    ),
    "nnU-Net v2 summaries": ({f"f/{a}/summary.json": doc for a, doc in NNUNET.items()}, "f", ()),
    "nnU-Net v1 summaries": ({f"f/{a}.json": doc for a, doc in NNUNET_V1.items()}, "f", ()),
    "MONAI's raw metrics": (
        {
            f"f/{a}/{name}": text
            for a, cases in DICE.items()
            for name, text in {
                "val_mean_dice_raw.csv": lines(
                    "filename\tclass0\tclass1\tmean", (f"{c}\t{v}\t{v}\t{v}" for c, v in cases.items())
                ),
                "metrics.csv": "val_mean_dice\t0.5\nother\t1\n",
            }.items()
        },
        "f",
        (),
    ),
    "MetricsReloaded": (
        {f"f/{a}.csv": lines("label,case,dsc", (f"1,{c},{v}" for c, v in cases.items())) for a, cases in DICE.items()},
        "f",
        (),
    ),
    "panoptica": (
        {
            f"f/{a}.tsv": lines("subject_name\tvertebra-global_bin_dsc", (f"{c}\t{v}" for c, v in cases.items()))
            for a, cases in DICE.items()
        },
        "f",
        (),
    ),
    "Touchstone, a file per metric": (
        {
            f"f/{a}/dsc.csv": lines("name,liver,spleen", (f"{c},{v},{v}" for c, v in cases.items()))
            for a, cases in DICE.items()
        },
        "f",
        (),
    ),
    "FLARE": (
        {
            f"f/{a}.csv": lines("Name,Liver_DSC,Spleen_DSC", (f"{c}.nii.gz,{v},{v}" for c, v in cases.items()))
            for a, cases in DICE.items()
        },
        "f",
        (),
    ),
    "grand-challenge evaluations": ({"s.json": GRAND_CHALLENGE}, "s.json", ()),
    "grand-challenge, forge's metrics": ({"s.json": FORGE}, "s.json", ()),
    "an index of pandas or R in front": (
        {"s.csv": lines('"",alg_name,case,Dice', (f'"{n}",{a},{c},{v}' for n, (a, c, v) in enumerate(PAIRS, start=1)))},
        "s.csv",
        (),
    ),
    "metrics beside the one that is ranked": (
        {"s.csv": lines("Model,case,Dice,HD95 (mm)", (f"{a},{c},{v},{v + 1}" for a, c, v in PAIRS))},
        "s.csv",
        ("--preset", "kits19"),
    ),
    "metrics beside the one that is ranked, one below another": (
        {"s.csv": LONG + "".join(f"{a},{c},HD95 (mm),{v + 1}\n" for a, c, v in PAIRS)},
        "s.csv",
        ("--preset", "kits19"),
    ),
    "JSON records": ({"s.json": [{"algorithm": a, "case": c, "dice": v} for a, c, v in PAIRS]}, "s.json", ()),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_read_without_an_edit(tmp_path: Path, name: str) -> None:
    files, path, options = LAYOUTS[name]
    write(tmp_path, files)
    result = run(tmp_path / path, *options, "-o", tmp_path / "ranks.csv")
    assert result.exit_code == 0, result.output
    rows = [line.split(",")[:2] for line in (tmp_path / "ranks.csv").read_text().splitlines()[1:]]
    assert rows == [["a", "1"], ["b", "2"], ["c", "3"]]


EXCEL = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def workbook(path: Path, sheet: str, *, texts: str = "") -> Path:
    """An Excel file with a second sheet that must not be read. `sheet` and `texts` are what stands inside."""
    parts = {
        "xl/workbook.xml": f'<workbook xmlns="{EXCEL}" xmlns:r="{OFFICE}"><sheets><sheet name="A" sheetId="1" r:id="r7"/>'
        '<sheet name="B" sheetId="2" r:id="r1"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": '<Relationships><Relationship Id="r1" Target="worksheets/sheet1.xml"/>'
        '<Relationship Id="r7" Target="/xl/worksheets/other.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{EXCEL}"><sheetData/></worksheet>',
        "xl/worksheets/other.xml": f'<worksheet xmlns="{EXCEL}"><sheetData>{sheet}</sheetData></worksheet>',
        "xl/sharedStrings.xml": f'<sst xmlns="{EXCEL}">{texts}</sst>',
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return path


def excel_row(*cells: str) -> str:
    return "<row>" + "".join(cells) + "</row>"


def test_the_first_sheet_of_an_excel_file_is_read(tmp_path: Path) -> None:
    """Shared texts in pieces, inline texts, formulas with their value, a gap, an empty row, an empty column, a summary row."""
    texts = "".join(f"<si><t>{text}</t></si>" for text in ("Model", "Subject"))
    texts += "<si><r><t>Di</t></r><r><t>ce</t></r><rPh><t>x</t></rPh></si>"
    header = excel_row(*(f'<c r="{"ABC"[i]}1" t="s"><v>{i}</v></c>' for i in range(3)), '<c r="D1" s="1"/>')
    rows = [
        excel_row(
            f'<c r="A{2 + i}" t="inlineStr"><is><t>{a}</t></is></c><c t="str"><f>X</f><v>{c}</v></c><c r="C{2 + i}"><v>{v}</v></c>'
        )
        for i, (a, c, v) in enumerate(PAIRS)
    ]
    mean = excel_row(
        '<c r="A99" t="inlineStr"><is><t>a</t></is></c><c t="str"><v>mean</v></c><c r="C99"><v>0.5</v></c>'
    )
    path = workbook(tmp_path / "s.xlsx", header + excel_row() + "".join(rows) + mean, texts=texts)
    result = run(path, "-o", tmp_path / "ranks.csv")
    assert result.exit_code == 0, result.output
    ranks = [line.split(",")[:2] for line in (tmp_path / "ranks.csv").read_text().splitlines()[1:]]
    assert ranks == [["a", "1"], ["b", "2"], ["c", "3"]]


BROKEN_BOOKS = {
    "no zip": (None, "", "not a zip file"),
    "a text that is not there": (excel_row('<c t="s"><v>5</v></c>'), "", "a text numbered '5' of 0"),
    "a cell out of place": (excel_row('<c r="C1"><v>1</v></c><c r="B1"><v>1</v></c>'), "", "a cell B1"),
    "beyond the last column": (excel_row('<c r="ZZZ1"><v>1</v></c>'), "", "a cell ZZZ1"),
    "broken XML": ("<row>", "", "mismatched tag"),
}


@pytest.mark.parametrize("name", BROKEN_BOOKS)
def test_an_excel_file_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    sheet, texts, message = BROKEN_BOOKS[name]
    if sheet is None:
        path = write(tmp_path, {"s.xlsx": b"algorithm,case,dice"}) / "s.xlsx"
    else:
        path = workbook(tmp_path / "s.xlsx", sheet, texts=texts)
    result = run(path)
    assert result.exit_code == 1
    assert "s.xlsx: found no Excel sheet in it" in result.output
    assert message in result.output


def test_an_excel_file_that_would_grow_without_end_is_refused(tmp_path: Path, monkeypatch) -> None:
    """Entities that name each other, and a part that unpacks to more than is allowed."""
    path = workbook(tmp_path / "s.xlsx", "")
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("xl/sharedStrings.xml", '<!DOCTYPE sst [<!ENTITY a "aaaa">]><sst><si><t>&a;</t></si></sst>')
    assert "a document type" in run(path).output
    monkeypatch.setattr("evaluator.ranking.score_files.workbook.MOST_BYTES", 100)
    assert "with more than 100 bytes" in run(workbook(tmp_path / "t.xlsx", "")).output


def test_a_parquet_file_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="no pyarrow here, which is an extra: pip install pyarrow")
    import pyarrow.parquet as files

    names = ("Model", "Subject", "Dice", "note")
    rows = [(a, c, v, None) for a, c, v in PAIRS]
    files.write_table(pyarrow.table({n: [row[i] for row in rows] for i, n in enumerate(names)}), tmp_path / "s.parquet")
    result = run(tmp_path / "s.parquet", "-o", tmp_path / "ranks.csv")
    assert result.exit_code == 0, result.output
    ranks = [line.split(",")[:2] for line in (tmp_path / "ranks.csv").read_text().splitlines()[1:]]
    assert ranks == [["a", "1"], ["b", "2"], ["c", "3"]]
    refused = run(write(tmp_path, {"t.parquet": b"algorithm,case,dice"}) / "t.parquet")
    assert "t.parquet: found no" in refused.output


def test_a_file_that_needs_a_library_names_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    result = run(write(tmp_path, {"s.parquet": b"x"}) / "s.parquet")
    assert result.exit_code == 1
    assert "expected it: pip install pyarrow" in result.output


AGGREGATES = {
    "a table of a paper": ("s.csv", "Method,Dice,HD95 (mm),Year\na,0.9,3,2020\nb,0.7,5,2021\n"),
    "CodaBench's leaderboard as CSV": (
        "s.csv",
        "#,Username,Date,ID,Dice\n1,a,2026-01-01,7,0.9\n2,b,2026-01-01,8,0.7\n",
    ),
    "CodaBench's leaderboard as JSON": (
        "s.json",
        {"Results(12)": {"a-7": {"Segmentation(3)-dice": "0.9"}, "b-8": {"Segmentation(3)-dice": "0.7"}}},
    ),
    "CodaBench's leaderboard of its interface": (
        "s.json",
        {
            "title": "Results",
            "submissions": [
                {"id": 7, "owner": "a", "scores": [{"column_key": "dice", "score": "0.9"}]},
                {"id": 8, "owner": "b", "scores": [{"column_key": "dice", "score": "0.7"}]},
            ],
        },
    ),
    "grand-challenge, aggregates only": (
        "s.json",
        [
            {
                "submission": {"creator": {"username": name}},
                "outputs": [
                    {"interface": {"slug": "metrics-json-file"}, "value": {"aggregates": {"dice": {"mean": value}}}}
                ],
            }
            for name, value in (("a", 0.9), ("b", 0.7))
        ],
    ),
    "means under the name of a case": ("s.csv", "algorithm,case,dice\na,mean,0.9\na,std,0.1\nb,mean,0.7\nb,std,0.2\n"),
}


@pytest.mark.parametrize("name", AGGREGATES)
def test_aggregates_are_ranked_and_said_to_have_no_intervals(tmp_path: Path, name: str) -> None:
    file, content = AGGREGATES[name]
    result = run(write(tmp_path, {file: content}) / file)
    assert result.exit_code == 0, result.output
    ranked = [line.split() for line in result.output.splitlines()[1:3]]
    assert [(row[0], row[1][0]) for row in ranked] == [("1", "a"), ("2", "b")]
    assert "95 %" not in result.output.splitlines()[0]
    assert "without intervals and tests" in " ".join(result.output.split())


@pytest.mark.parametrize(("layout", "protocol"), [("flare", "flare22"), ("kits", "kits23")])
def test_published_layouts_are_read_through_their_protocol(tmp_path: Path, layout: str, protocol: str) -> None:
    from evaluator.layouts import columns_of, load_layout

    known = columns_of(load_layout(layout), load_named_protocol(protocol))
    for name, value in (("a", 0.9), ("b", 0.5)):
        for file, columns in known.items():
            header = [load_layout(layout).case_column, *(column.header for column in columns)]
            is_share = {column.header: column.spec.metric.upper == 1 for column in columns}
            cells = ["c1", *(str(value if is_share[head] else 1 - value) for head in header[1:])]
            write(tmp_path, {f"f/{name}/{file}": ",".join(header) + "\n" + ",".join(cells) + "\n"})
    result = run(tmp_path / "f", "--as", layout, "--protocol", protocol)
    assert result.exit_code == 0, result.output
    assert [line.split()[2] for line in result.output.splitlines()[1:3]] == ["a", "b"]
    assert "expected one, for it says which columns" in run(tmp_path / "f", "--as", layout).output


def test_every_form_has_a_layout_that_shows_it(tmp_path: Path) -> None:
    shown = set()
    for place, (files, path, options) in enumerate(LAYOUTS.values()):
        metric = options[1] if options else None
        shown.add(read_scores(write(tmp_path / str(place), files) / path, parse_ranking({}), metric=metric).form)
    assert shown | {"aggregates"} == set(FORMS)


REFUSED = {
    "a column per algorithm without a metric": (
        "case,a,b\nc1,0.9,0.7\n",
        "where each column is an algorithm, say whose values they are: --metric dice",
    ),
    "a value without its metric": ("algorithm,case,value\na,c1,0.9\nb,c1,0.7\n", "expected its name: --metric dice"),
    "a mean beside its parts": (
        "algorithm,case,dice,liver_dice\na,c1,0.9,0.9\nb,c1,0.7,0.7\n",
        "found columns dice and liver_dice; expected either dice or a column for each structure",
    ),
    "one structure twice": (
        "algorithm,case,liver_dice,dsc_liver,Dice_liver\na,c1,0.9,0.9,1\n",
        "found columns liver_dice and Dice_liver, which are the same; expected one of them",
    ),
    "algorithms that differ by case": (
        "algorithm,case,dice\nnnU-Net,c1,0.9\nnnu-net,c1,0.7\n",
        "found the algorithms 'nnU-Net' and 'nnu-net', which differ only by case",
    ),
    "algorithms that look the same": (
        "algorithm,case,dice\nA,c1,0.9\nА,c1,0.7\n",
        "which differ only by letters that look the same",
    ),
    "a missing value": ("algorithm,case,hd95\na,c1,3\nb,c1,\n", "or --missing hd95=rank_last"),
    "a missing share": ("algorithm,case,dice\na,c1,0.3\nb,c1,\n", "or --missing dice=0"),
    "an infinite distance": (
        "algorithm,case,hd95\na,c1,3\nb,c1,inf\n",
        "a rule for infinity: --missing hd95=rank_last",
    ),
    "leading zeros": (
        "algorithm,case,dice\n" + "".join(f"A,{i},0.9\nB,{i:03},0.8\n" for i in range(1, 7)),
        "6 of 6 cases differ only by leading zeros ('1' of A and '001' of B",
    ),
    "endings": (
        "algorithm,case,dice\nA,x.nii.gz,0.9\nB,x,0.8\nA,y,0.1\n",
        "1 of 2 cases differ only by an ending ('x' of B and 'x.nii.gz' of A); B lacks 1 of 2",
    ),
    "unequal case sets": (
        "algorithm,case,dice\n"
        + "".join(f"A,p{i},0.9\n" for i in range(500))
        + "".join(f"B,p{i},0.8\n" for i in range(463)),
        "unequal case sets (B lacks 37 of 500)",
    ),
    "something like a gzip": (None, "found no whole gzip file"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_ranked_by_accident_is_refused(tmp_path: Path, name: str) -> None:
    text, message = REFUSED[name]
    file = "s.csv" if text else "s.csv.gz"
    result = run(write(tmp_path, {file: text or b"no gzip"}) / file)
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize(
    "summary", ["mean", "Average", "STD", "median", "overall", "Total", "mean ± std", "25%", "Mittelwert", "count"]
)
def test_a_summary_row_is_never_a_case(tmp_path: Path, summary: str) -> None:
    plain = run(write(tmp_path, {"s.csv": WIDE}) / "s.csv").output
    told = run(write(tmp_path, {"s.csv": WIDE + f"a,{summary},0.0\nc,{summary},1.0\n"}) / "s.csv").output
    assert told.splitlines()[:4] == plain.splitlines()[:4]
    assert f"rows that summarise others are not cases: {summary}" in told


def test_names_that_look_the_same_are_the_same(tmp_path: Path) -> None:
    text = "algorithm,case,dice\nM\u00fcller,c1,0.9\nMu\u0308ller ,c2,0.8\n Mu\u0308ller\u00a0,c\u200b3,0.7\nb,c1,0.1\nb,c2,0.1\nb,c3 ,0.1\n"
    result = run(write(tmp_path, {"s.csv": text}) / "s.csv")
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == 3 + result.output.count("note:")


def test_missing_values_count_as_the_command_line_says(tmp_path: Path) -> None:
    text = "algorithm,case,dice,hd95,diagonal_mm\na,c1,,3,500\na,c2,0.5,inf,400\nb,c1,0.4,4,500\nb,c2,0.4,4,400\n"
    path = write(tmp_path, {"s.csv": text}) / "s.csv"
    result = run(path, "--missing", "Dice=0,hd95=diagonal", "-o", tmp_path / "ranks.csv")
    assert result.exit_code == 0, result.output
    first = (tmp_path / "ranks.csv").read_text().splitlines()
    values = dict(
        zip(first[0].split(","), next(line for line in first if line.startswith("a,")).split(","), strict=True)
    )
    assert (float(values["dice"]), float(values["hd95"])) == (0.25, (3 + 400) / 2)
    assert run(path, "--missing", "rank_last").exit_code == 0
    assert run(path, "--missing", "dice=0,hd95=2*worst_of_others").exit_code == 0


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("dcie=0", "--missing: found the metric 'dcie'; expected one of"),
        ("hd59=0", "; did you mean hd95?"),
        ("hd95=diagonal", "expected a column diagonal_mm with the image diagonal in mm"),
        ("dice=1,hd95=374", "expected a value worse than 1, the best it can be"),
        ("dice=nothing", "found 'nothing'; expected a number, {times_worst_of_others: k} or one of"),
        ("dice=0,DSC=0", "--missing: found a second rule for dice (DSC=0)"),
        ("", "expected metric=rule, such as dice=0,hd95=diagonal"),
    ],
)
def test_a_rule_that_is_none_is_refused(tmp_path: Path, option: str, message: str) -> None:
    result = run(write(tmp_path, {"s.csv": HOLES}) / "s.csv", "--missing", option)
    assert result.exit_code == 1
    assert message in result.output


@pytest.mark.parametrize("option", ["rank_last", "drop_case"])
def test_nobody_is_first_where_no_value_counts(tmp_path: Path, option: str) -> None:
    text = "algorithm,case,dice\na,c1,\na,c2,\nb,c1,\nb,c2,\n"
    result = run(write(tmp_path, {"s.csv": text}) / "s.csv", "--missing", option)
    assert result.exit_code == 1
    assert "found no value that counts" in result.output


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (
            "metrics: [{id: dice, direction: min}]",
            "metrics[0].direction: found min for dice; expected max, or another name",
        ),
        (
            "metrics: [hd95, {id: DSC (%), direction: max}, {id: Dice score, direction: min}]",
            "metrics[2].direction: found min",
        ),
        ("missing: {any: {dise: 0}}", "missing.any.dise: found a rule for dise, which is not ranked"),
        ("metrics: [dsc]\nmissing: {any: {hd95: 9, dcs: 0}}", "missing.any.dcs: found a rule for dcs"),
        ("metrics: [dsc]\nmissing: {failed_case: {dice: 0}}", "expected one of dsc; did you mean dsc?"),
        ("metrics: [dice]\nmissing: {dice: 0}", "expected it below one, as in any: {dice: rank_last}"),
        ("metrics: [dice]\nmissing: {any: {'*': 0, nds: 0}}", "missing.any.nds: found a rule for nds"),
    ],
)
def test_slips_of_a_ranking_document_are_refused(tmp_path: Path, document: str, told: str) -> None:
    write(tmp_path, {"s.csv": WIDE, "r.yaml": document + "\n"})
    result = run(tmp_path / "s.csv", "--config", tmp_path / "r.yaml")
    assert result.exit_code == 1
    assert told in result.output


@pytest.mark.parametrize(
    "mark", ["{} ± 0.02", "{}±0.02", "{} +/- 0.02", "{} (0.02)", "{} (0.85–0.95)", "{} [0.85, 0.95]", "${} \\pm 0.02$"]
)
def test_a_number_with_its_spread_counts_as_the_number_and_the_reader_is_told(tmp_path: Path, mark: str) -> None:
    lines = [
        f'{name};"{mark.format(dice)}";{hd95}' for name, dice, hd95 in (("a", 0.8, 9), ("b", 0.9, 5), ("c", 0.7, 12))
    ]
    found = read_scores(
        write(tmp_path, {"s.csv": "\n".join(["algorithm;Dice;HD95", *lines])}) / "s.csv", parse_ranking({})
    )
    assert found.table.metrics["dice"].values[:, 0, 0].tolist() == [0.8, 0.9, 0.7]
    told = f"Dice: the first number of each cell is ranked, as in {mark.format(0.8)!r}"
    assert [note for note in found.notes if note.startswith(told)]
    assert not any(note.startswith("HD95: ") for note in found.notes)


def test_spreads_are_read_for_cases_in_columns_of_algorithms_and_with_decimal_commas(tmp_path: Path) -> None:
    texts = {"cases.csv": "case;a;b\nc1;0,90 ± 0,02;0,8\nc2;0,91 ± 0,02;0,7 ± 0,1\n"}
    found = read_scores(write(tmp_path, texts) / "cases.csv", parse_ranking({}), metric="dice")
    assert found.table.metrics["dice"].values[:, 0].tolist() == [[0.9, 0.91], [0.8, 0.7]]
    assert sum("first number" in note for note in found.notes) == 2
    assert "first number of each cell" in run(tmp_path / "cases.csv", "--metric", "dice").output.replace("\n", " ")


@pytest.mark.parametrize(
    "cell", ["0.9 ± ", "± 0.02", "0.9 ± 0.02 ± 0.1", "0.9 (best)", "0.9 0.8", "0.9 % ± 0.1", "0.9 (0.8", "1_0 ± 2"]
)
def test_what_is_no_number_with_a_spread_is_refused(tmp_path: Path, cell: str) -> None:
    path = write(tmp_path, {"s.csv": f"algorithm,case,dice\na,c1,0.9\nb,c1,{cell}\n"}) / "s.csv"
    with pytest.raises(
        ScoresError, match=re.escape(f"s.csv, line 3, column dice: found {cell.strip()!r}; expected a number")
    ):
        read_scores(path, parse_ranking({}))


def test_a_spread_does_not_hide_percents(tmp_path: Path) -> None:
    path = write(tmp_path, {"s.csv": "algorithm,dice\na,90 ± 2\nb,0.8 ± 0.1\n"}) / "s.csv"
    with pytest.raises(ScoresError, match="found 90; expected a number from 0 to 1"):
        read_scores(path, parse_ranking({}))


def test_rules_for_the_sums_of_a_pooled_metric_are_no_slip() -> None:
    document = {
        "metrics": [{"id": "dsc_agg", "direction": "max", "pooled": {"numerator": "2*inter", "denominator": "volume"}}],
        "missing": {"any": {"inter": 0, "volume": "same_as_others"}},
    }
    refuse_slips(parse_ranking(document), document, "ranking")


def test_cases_of_several_tasks_are_not_pooled_without_a_word(tmp_path: Path) -> None:
    text = "algorithm,case,dice,task\na,c1,0.9,liver\na,c2,0.8,lung\nb,c1,0.8,liver\nb,c2,0.7,lung\n"
    rules = "metrics: [dice]\nscheme: value\nmulti_task: {by: task}\n"
    write(tmp_path, {"s.csv": text, "r.yaml": rules, "none.csv": WIDE})
    assert "cases of 2 tasks are ranked together (liver, lung)" in run(tmp_path / "s.csv").output
    assert "ranked together" not in run(tmp_path / "s.csv", "--config", tmp_path / "r.yaml").output
    without = run(tmp_path / "none.csv", "--config", tmp_path / "r.yaml")
    assert without.exit_code == 1
    assert "found no case with a task; expected a column task" in without.output


def test_a_metric_that_is_not_ranked_is_named(tmp_path: Path) -> None:
    text = lines("Model,case,Dice,HD95", (f"{a},{c},{v},{v + 1}" for a, c, v in PAIRS))
    told = run(write(tmp_path, {"s.csv": text}) / "s.csv", "--preset", "challengeR-rank", "--explain").output
    assert "column HD95: a metric that this ranking does not use, not read\n" in told
    assert "metrics that this ranking does not use were not read: HD95" in told


def test_an_index_that_may_be_the_case_is_refused(tmp_path: Path) -> None:
    result = run(write(tmp_path, {"s.csv": ",A,B\n0,0.9,0.8\n1,0.8,0.7\n"}) / "s.csv", "--metric", "dice")
    assert result.exit_code == 1
    assert "give it a name where it is the case" in result.output


@pytest.mark.parametrize("options", [("--difference", "0.01"), ("--from", "s.csv")])
def test_an_option_that_would_do_nothing_is_refused(tmp_path: Path, options: tuple[str, str]) -> None:
    path = write(tmp_path, {"s.csv": WIDE}) / "s.csv"
    name, value = options
    result = run(path, name, path if name == "--from" else value)
    assert result.exit_code == 2
    assert f"found {name}" in result.output


def test_two_equal_keys_in_a_configuration_are_refused(tmp_path: Path) -> None:
    write(tmp_path, {"s.csv": WIDE, "r.yaml": "metrics: [dice]\nmetrics: [hd95]\n"})
    result = run(tmp_path / "s.csv", "--config", tmp_path / "r.yaml")
    assert result.exit_code == 1
    assert "metrics" in result.output


def test_how_a_table_was_understood_is_printed(tmp_path: Path) -> None:
    files, path, _ = LAYOUTS["a column per organ behind the metric"]
    told = run(write(tmp_path, files) / path, "--explain").output
    assert "form: organ-columns\n" in told
    assert "column Dice_liver: metric dice of liver, larger is better\n" in told
    assert "column mean_Dice: a summary of other columns, not read\n" in told
    assert "columns that summarise others are not scores: mean_Dice" in told
