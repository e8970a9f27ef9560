"""The attacks on a site and on its releases: what each meets, and the tests that carry it out.

`python tests/evaluation_sites/attacks.py` writes the table into the room's README; `test_attacks.py` compares.
"""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "platform" / "assay" / "evaluation_sites" / "README.md"
BEGIN, END = "<!-- attacks -->", "<!-- end of attacks -->"


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One attack. `tests` are `file::function` below `tests/`."""

    name: str
    attack: str
    verdict: str
    tests: tuple[str, ...]


def here(file: str, *names: str) -> tuple[str, ...]:
    """Tests of one file of this folder."""
    return tuple(f"evaluation_sites/test_{file}.py::test_{name}" for name in names)


FAULTS = here("faults", "each_fault_at_each_step_ends_with_one_release_and_nothing_left")
"""kill -9, the server away, a byte flipped and a full disk at each step of a run, with a scripted engine."""
JOURNEY = ("journeys/test_hospital.py::test_a_hospital_joins_releases_and_survives_faults",)
"""A real run behind a proxy that opens encrypted connections: a flipped byte, kill -9, the server away."""
ATTACKS = (
    Attack(
        name="a",
        attack="swap two patients' labels, or their attributes",
        verdict="the data's root changes, and the work stops",
        tests=here(
            "site", "swapping_two_references_changes_the_root", "swapping_two_patients_attributes_changes_the_root"
        ),
    ),
    Attack(
        name="b",
        attack="a release with text, NaN, a Dice of 5, more cases than there are, a mean of 10⁴⁰⁰, a patient's name as a group",
        verdict="refused, 422 with the reason",
        tests=here("site", "the_server_takes_nothing_but_permitted_numbers")
        + here("inside", "a_release_with_a_name_as_a_group_is_refused_and_one_with_agreed_groups_is_taken"),
    ),
    Attack(
        name="c",
        attack="replay a release, or release without review after the lease",
        verdict="the same receipt and no change; 409",
        tests=here(
            "agreements",
            "a_release_that_is_replayed_changes_nothing_and_gets_the_same_receipt",
            "a_result_whose_lease_is_long_gone_and_that_nobody_reviewed_is_refused",
            "the_numbers_of_one_order_do_not_fit_another",
        ),
    ),
    Attack(
        name="d",
        attack="no signature, a forged one, or an edited draft under the site's own token",
        verdict="refused, `signature_invalid`",
        tests=here("agreements", "a_forged_or_edited_release_under_the_sites_own_token_is_refused"),
    ),
    Attack(
        name="e",
        attack="another site's token or key",
        verdict="refused",
        tests=here("agreements", "nobody_but_the_site_recalls")
        + here("joining", "a_stolen_token_does_not_change_the_key"),
    ),
    Attack(
        name="f",
        attack="change the protocol or the data after both agreed",
        verdict="no work until both agree again",
        tests=here(
            "agreements", "changed_rules_stop_the_work_until_both_agree_again", "other_data_than_agreed_is_refused"
        ),
    ),
    Attack(
        name="g",
        attack="small groups: linear algebra over totals, groups, counts, versions of the data and all releases",
        verdict="every combination is about at least five patients; a number of releases is agreed",
        tests=(
            "evaluator/test_disclosure.py::test_no_combination_of_released_sums_depends_on_fewer_than_k_patients",
            "evaluator/test_disclosure.py::test_no_combination_of_released_counts_depends_on_fewer_than_k_patients",
            "evaluator/test_disclosure.py::test_no_combination_over_versions_and_groupings_depends_on_fewer_than_k_patients",
            *here("inside", "a_version_with_one_new_patient_in_a_group_releases_the_total_alone"),
            *here("site", "small_groups_are_withheld_and_cannot_be_found_by_subtraction"),
            *here("data", "a_version_that_differs_by_one_patient_is_refused_at_the_site_even_with_the_same_number"),
            *here(
                "agreements",
                "versions_of_data_that_differ_by_few_patients_are_not_both_released",
                "an_agreement_ends_with_its_time_and_with_its_number_of_releases",
            ),
        ),
    ),
    Attack(
        name="h",
        attack="look for names, paths and times in every request",
        verdict="none",
        tests=here("agreements", "no_name_path_or_time_of_a_patient_is_in_any_request")
        + here("leaves", "what_leaves_is_what_the_page_says_and_nothing_else"),
    ),
    Attack(
        name="i",
        attack="switch the machine off, or fill its disk, at any step of a run",
        verdict="goes on with the next case; one release, and nothing is left",
        tests=here(
            "agreements",
            "a_machine_that_was_switched_off_goes_on_with_the_next_case",
            "a_line_that_was_cut_off_runs_again",
            "what_a_killed_program_left_of_patients_is_removed_at_the_start",
        )
        + FAULTS
        + JOURNEY,
    ),
    Attack(
        name="j",
        attack="take the server away at any step of a run",
        verdict="nothing is lost, and nothing is scored for it",
        tests=here("agreements", "a_finished_run_is_not_lost_when_the_server_is_away_at_the_end")
        + here("review", "a_server_that_is_away_loses_no_draft")
        + here("faults", "a_server_that_is_away_while_a_release_is_sent_takes_it_once")
        + FAULTS
        + JOURNEY,
    ),
    Attack(
        name="k",
        attack="two programs with one token, in one folder or with a copy of it",
        verdict="the second is refused, or gets nothing",
        tests=here(
            "agreements",
            "two_programs_in_one_folder_do_not_work_at_once",
            "a_copy_of_the_folder_on_another_machine_does_not_get_the_work_of_the_first",
        ),
    ),
    Attack(
        name="l",
        attack="flip a byte on the way, of an order, an image or a receipt; give another image than the order's",
        verdict="put off while others go on; refused",
        tests=here(
            "agreements",
            "a_submission_that_cannot_be_done_now_lets_the_others_go_on",
            "a_site_refuses_an_order_that_the_server_did_not_sign_or_that_does_not_fit",
        )
        + here("faults", "no_flipped_byte_of_an_order_is_worked_on")
        + FAULTS
        + JOURNEY,
    ),
    Attack(
        name="m",
        attack="recall, revoke, change the key; rewrite the log afterwards",
        verdict="a mark on the board, void at once, signed by both keys; noticed",
        tests=here(
            "agreements",
            "a_recall_takes_the_numbers_off_the_board_and_stays_in_the_log",
            "a_log_that_was_changed_shortened_or_rewritten_is_noticed",
            "a_release_stays_good_after_the_key_was_changed",
        )
        + here("joining", "a_revoked_site_is_nobody_and_its_leases_end", "a_new_key_is_signed_by_the_old_one"),
    ),
    Attack(
        name="n",
        attack="reach the review page from another program, host name or web page",
        verdict="refused; it listens on 127.0.0.1 alone",
        tests=here(
            "review",
            "nobody_else_on_the_machine_or_in_the_browser_reads_or_decides",
            "the_page_is_served_on_this_machine_alone",
        ),
    ),
    Attack(
        name="o",
        attack="stand between site and server with keys of one's own; a private authority; a proxy",
        verdict="other words, no approval; each cause has its own sentence",
        tests=(
            *here("joining", "somebody_between_the_two_has_other_words_and_is_not_approved"),
            "node/test_site_doctor.py::test_each_broken_network_has_its_own_words",
        ),
    ),
    Attack(
        name="p",
        attack="read patients' text inside the container",
        verdict="inputs are written anew, cases are numbered",
        tests=here(
            "inside",
            "the_text_of_an_images_header_stays_behind",
            "a_container_at_a_site_sees_numbers_for_names",
        ),
    ),
    Attack(
        name="q",
        attack="send single patients out through a mean: answer few cases, leave the rest empty",
        verdict="the reviewer is warned; the number of releases is limited; bits that remain stand in the trust model",
        tests=here("review", "a_row_that_looks_made_is_warned_of"),
    ),
)


def table() -> str:
    """The table in Markdown."""
    lines = ["| | attack | what it meets |", "| --- | --- | --- |"]
    lines += [f"| {row.name} | {row.attack} | {row.verdict} |" for row in ATTACKS]
    return "\n".join(lines)


def with_table(text: str) -> str:
    """The README with today's table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
