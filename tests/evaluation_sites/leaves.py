"""Everything that leaves a hospital: each request of its program, what the request holds, and what that means.

`python tests/evaluation_sites/leaves.py` writes the table into the page for the data-protection officer. `test_leaves.py` captures every
request of a hospital's whole life and compares both ways: nothing else leaves, and nothing that stands here is made up.
"""

from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "hospitals" / "trust-model.md"
BEGIN, END = "<!-- leaves -->", "<!-- end of leaves -->"
SIGNED = ("said.public_key", "said.signature")
RELEASED = ("submission", "agreement_sha256", "data_root", "evaluator", "nonce")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request. `fields` are names in its body, dots between levels, `*` for a name that the protocol chose."""

    address: str
    when: str
    fields: tuple[str, ...] = ()
    words: str = "nothing"


def numbers(place: str) -> tuple[str, ...]:
    """Where a number of a metric may stand: of all cases, and of a label, a group or a label in a group."""
    return (
        f"{place}.*.mean",
        f"{place}.*.n",
        f"{place}.*.sd",
        f"{place}.*.*.*.mean",
        f"{place}.*.*.*.n",
        f"{place}.*.*.*.sd",
    )


REQUESTS = (
    Request(
        address="POST site/join",
        when="joining",
        fields=("code", "said.joins_with", *SIGNED),
        words="the one-time code, its hash, the public half of a key that is made on your machine, a signature",
    ),
    Request(address="GET site/about", when="asking whether you are approved, and for the rules of scoring"),
    Request(
        address="POST site/datasets",
        when="adding data, after a person agreed",
        fields=(
            *tuple(
                f"{place}{name}"
                for place in ("", "said.")
                for name in (
                    "root_sha256",
                    "case_count",
                    "summary.selfcheck.cases",
                    "summary.selfcheck.problems",
                    "summary.attributes",
                )
            ),
            "said.kind",
            *SIGNED,
        ),
        words="one keyed hash over all files and attributes, the number of cases, that the references were checked, which attributes the cases "
        "have",
    ),
    Request(address="GET site/agreement", when="asking for terms"),
    Request(
        address="POST site/agreement",
        when="signing terms, after a person agreed",
        fields=("said.kind", "said.terms_sha256", "said.sealing_key", *SIGNED),
        words="the hash of the terms, and a public key to which images are sealed",
    ),
    Request(
        address="POST site/claim",
        when="asking for work",
        fields=("root_sha256", "agent", "skip", "wait_seconds"),
        words="the same keyed hash, a random number of this installation, which orders it could not do a moment ago, how long it waits",
    ),
    Request(address="GET site/image", when="fetching an image"),
    Request(
        address="POST site/heartbeat",
        when="every few minutes while it runs, and at its end",
        fields=("evaluation_id", "fence", "is_in_review"),
        words="that the program still works on the order, or that a result waits for you",
    ),
    Request(
        address="POST site/release",
        when="release, after a person agreed",
        fields=(
            *("evaluation_id", "fence", "failures.*", "said.kind", "said.evaluation_id", "said.failures.*", *SIGNED),
            *(f"said.{name}" for name in RELEASED),
            *numbers("aggregates"),
            *numbers("said.metrics"),
        ),
        words="per metric: mean, standard deviation and number of cases, rounded to three decimals. The same per label and per group. How many "
        "cases failed in which way, from five on",
    ),
    Request(
        address="POST site/decline",
        when="refusal",
        fields=("evaluation_id", "fence", "reason"),
        words="that you declined, and the reason that you type. Where the machine lacks GPUs, the program says so, and how many it has",
    ),
    Request(
        address="POST site/recall",
        when="recall, when a person asks for it",
        fields=(
            "evaluation_id",
            "reason",
            "again",
            "said.kind",
            "said.evaluation_id",
            "said.release_sha256",
            "said.reason",
            *SIGNED,
        ),
        words="which release, and the reason that you type. Everybody reads it",
    ),
    Request(
        address="POST site/key",
        when="a new key, when a person asks for it",
        fields=(
            "said.next_public_key",
            "said.proof.replaces",
            "said.proof.public_key",
            "said.proof.signature",
            *SIGNED,
        ),
        words="the public halves of the old and the new key",
    ),
    Request(address="POST site/leave", when="leaving", fields=("reason",), words="the reason that you type, or none"),
)


def table() -> str:
    """The table in Markdown."""
    lines = ["| when | what is sent |", "| --- | --- |"]
    lines += [f"| {row.when} | {row.words} |" for row in REQUESTS]
    return "\n".join(lines)


def with_table(text: str) -> str:
    """The page with today's table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
