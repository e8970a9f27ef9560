"""Published tables: hand-written files in the columns of FLARE, KiTS and Touchstone, read and written back."""

import pytest

from evaluator.layouts import LayoutError, columns_of, load_layout, named_layouts, read_tables, write_tables
from evaluator.protocol import load_named_protocol

KITS = "caseID,Dice_kidney,Dice_masses,Dice_tumor,SD_kidney,SD_masses,SD_tumor\n"


def read(layout: str, protocol: str, tables: dict[str, str]):
    return read_tables(load_layout(layout), load_named_protocol(protocol), tables)


def values_of(result) -> dict[tuple[str, str], float | None]:
    return {(row.label, row.metric): row.value for row in result.rows}


def test_every_layout_serves_a_protocol_that_ships():
    served = {"flare": "flare22", "flare21": "flare21", "kits": "kits23", "touchstone": "touchstone"}
    assert set(named_layouts()) == set(served)
    for layout, protocol in served.items():
        headers = [
            column.header
            for columns in columns_of(load_layout(layout), load_named_protocol(protocol)).values()
            for column in columns
        ]
        assert headers


def test_kits_columns_are_the_nested_regions():
    (result,) = read("kits", "kits23", {"evaluation.csv": KITS + "case_00588,0.97,0.85,0.84,0.93,0.72,0.70\n"})
    assert result.case_id == "case_00588"
    assert values_of(result) == {
        ("kidney_and_mass", "dice"): 0.97,
        ("mass", "dice"): 0.85,
        ("tumor", "dice"): 0.84,
        ("kidney_and_mass", "nsd"): 0.93,
        ("mass", "nsd"): 0.72,
        ("tumor", "nsd"): 0.70,
    }


def test_an_empty_cell_of_touchstone_is_an_absent_organ_and_no_zero():
    organs = "name,aorta,gall_bladder,kidney_left,kidney_right,liver,pancreas,postcava,spleen,stomach\n"
    tables = {
        "dsc.csv": organs + "BDMAP_1,0.8,,0.9,0.9,0.95,0,0.7,0.9,0.9\n",
        "nsd.csv": organs + "BDMAP_1,0.9,nan,0.9,0.9,0.90,0,0.8,0.9,0.9\n",
    }
    (result,) = read("touchstone", "touchstone", tables)
    values = values_of(result)
    assert values["gall_bladder", "dice"] is None
    assert values["gall_bladder", "nsd"] is None
    assert values["pancreas", "dice"] == 0.0
    assert values["postcava", "nsd"] == 0.8


def test_flares_two_files_meet_in_the_case():
    protocol = load_named_protocol("flare22")
    seg, cost = columns_of(load_layout("flare"), protocol).values()
    tables = {
        "team_DSC_NSD.csv": ",".join(["Name", *(column.header for column in seg)])
        + "\nFLARETs_0001.nii.gz,"
        + ",".join(["0.9"] * 13 + ["0.8"] * 13)
        + "\n",
        "team_Efficiency.csv": "Name,Time,GPU_Mem,AUC_GPU_Time,CPU_Utilization,AUC_CPU_Time,RAM,AUC_RAM_Time\n"
        "FLARETs_0001.nii.gz,14.59,1995.04,23196.84,10,319.67,4000,9\n",
    }
    (result,) = read("flare", "flare22", tables)
    assert result.case_id == "FLARETs_0001"
    values = values_of(result)
    assert values["inferior vena cava", "dice"] == 0.9
    assert values["left kidney", "nsd"] == 0.8
    assert (values["", "time"], values["", "gpu_auc"], values["", "cpu_auc"]) == (14.59, 23196.84, 319.67)
    assert len(values) == 29
    assert [column.header for column in cost] == ["Time", "AUC_GPU_Time", "AUC_CPU_Time"]


def test_what_is_written_reads_back_to_the_last_digit():
    tables = {"evaluation.csv": KITS + "case_1,0.9123456789012345,1,0,0.1,0.25,\ncase_2,1,1,1,1,1,1\n"}
    results = read("kits", "kits23", tables)
    written = write_tables(load_layout("kits"), load_named_protocol("kits23"), results)
    assert list(written) == ["evaluation.csv"]
    assert read("kits", "kits23", written) == results
    assert written["evaluation.csv"].startswith(KITS)


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("", "found columns none"),
        ("case,x\na,1\n", "expected evaluation.csv"),
        (KITS.replace(",SD_tumor", ""), "expected also SD_tumor"),
        (KITS + "a,1,1,1,1,1\n", "line 2: found 6 cells; expected 7"),
        (KITS + "a,97.2,1,1,1,1,1\n", "line 2, column Dice_kidney: found '97.2'; expected a number from 0 to 1"),
        (KITS + "a,good,1,1,1,1,1\n", "column Dice_kidney: found 'good'"),
        (KITS + "a,inf,1,1,1,1,1\n", "found 'inf'"),
        (KITS + "a,1,1,1,1,1,1\na,1,1,1,1,1,1\n", "line 3: found the case 'a'; expected a name, each once"),
        (KITS, "found no case"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_its_place(table, complaint):
    with pytest.raises(LayoutError) as refusal:
        read("kits", "kits23", {"results.csv" if "x" in table or not table else "evaluation.csv": table})
    assert complaint in str(refusal.value)


def test_a_metric_the_protocol_ranks_by_may_not_be_left_out():
    columns = columns_of(load_layout("flare"), load_named_protocol("flare22"))["segmentation.csv"]
    table = ",".join(["Name", *(column.header for column in columns)]) + "\nx.nii.gz," + ",".join(["1"] * 26) + "\n"
    with pytest.raises(LayoutError, match="found no column for time, which the protocol ranks by"):
        read("flare", "flare22", {"segmentation.csv": table})


def test_files_that_name_other_cases_are_not_mixed():
    organs = "name,aorta,gall_bladder,kidney_left,kidney_right,liver,pancreas,postcava,spleen,stomach\n"
    row = ",1" * 9 + "\n"
    with pytest.raises(LayoutError, match=r"found other cases than in dsc\.csv"):
        read("touchstone", "touchstone", {"dsc.csv": f"{organs}a{row}", "nsd.csv": f"{organs}b{row}"})
