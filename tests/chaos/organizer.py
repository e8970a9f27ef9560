"""A hostile organizer: whatever the doors of an organizer take, as heavy and as broken as they take it.

`Organizer.push_everything` is one of the driver's faults. Each file must be refused with a sentence, or taken and held within its limits;
an answer of 500 is a problem of ours. While other faults strike, the server may not answer at all: then the push is made again.
"""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx

from assay.config import env

SLUG = "mischief"
SERVER_FAULT = 500
"""What an error of ours answers; 502 to 504 say that something is away, which the driver itself saw to."""
AWAY = (502, 503, 504)
KEMENY = {"type": "consensus", "consensus": "kemeny_linear", "rank_at": ["case"]}


@dataclass(kw_only=True)
class Organizer:
    """Somebody with a free account, and what the server answered them."""

    url: str
    token: str
    answers: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    """Which files were answered with an error of ours."""

    def push_everything(self) -> None:
        """Every file once."""
        for name, source in sources():
            status = self._push(source)
            self.answers[status] += 1
            if status == SERVER_FAULT:
                self.faults.append(name)

    def _push(self, source: str) -> int:
        give_up_at = time.monotonic() + env.patience().at_most_seconds
        headers = {"Authorization": f"Bearer {self.token}"}
        while time.monotonic() < give_up_at:
            try:
                answer = httpx.put(
                    f"{self.url}/api/v1/challenges/{SLUG}",
                    json={"source": source, "dry_run": False},
                    headers=headers,
                    timeout=60,
                )
            except httpx.TransportError:
                time.sleep(0.5)
                continue
            if answer.status_code not in AWAY:
                return answer.status_code
            time.sleep(0.5)
        raise AssertionError("the server does not come back")


def sources() -> Iterator[tuple[str, str]]:
    """Name and text of every file."""
    yield "a plain one, so that there is something to spoil", challenge()
    for bootstrap in (2_000_000_000, 30_000_000):
        yield f"{bootstrap} replicates", challenge(ranking={"stability": {"bootstrap": bootstrap}})
    yield "Kemeny in ten thousand replicates", challenge(ranking={"scheme": KEMENY, "stability": {"bootstrap": 10_000}})
    yield (
        "permutations in every replicate",
        challenge(ranking={"scheme": "significance", "significance": {"test": "permutation", "repetitions": 200_000}}),
    )
    yield (
        "two thousand parts of a scheme",
        challenge(ranking={"scheme": {"type": "mean_of_ranks", "children": ["borda"] * 2000}}),
    )
    yield "five thousand labels", challenge(labels={f"l{n}": {"values": n} for n in range(1, 5001)})
    yield (
        "a thousand labels, dilated",
        challenge(
            labels={f"l{n}": {"values": n, "tolerance_mm": 1} for n in range(1, 1001)},
            metrics=[{"name": "lesion_dice", "dilation": 50}],
        ),
    )
    yield "thousands of brackets", challenge(rules="[" * 32_000)
    yield "links that multiply", challenge(rules=f"[a]: <{'x' * 3000}>\n\n" + "[a] " * 6000)
    yield "a wide and tall table", challenge(rules="|a" * 2000 + "\n" + "|-" * 2000 + "\n" + "|b\n" * 8000)
    yield "quotes in quotes", challenge(description=">" * 30_000)
    yield "an alias bomb", alias_bomb()
    yield "a flat list of 1 MiB", "title: [" + "a," * (2**19 - 10) + "]"
    yield "brackets of YAML", "title: " + "[" * 100_000
    for end in ("9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"):
        for key in ("opens_at", "closes_at", "embargo_until"):
            yield f"{key} at {end}", challenge(phase={key: end})
    yield "characters that cannot be stored", challenge(title="a\x00b\ud800")
    yield "a number of twenty digits", challenge(phase={"submission_limit": 10**20})
    yield (
        "the heaviest that is taken",
        challenge(ranking={"scheme": KEMENY, "stability": {"bootstrap": 300}}, rules="[" * 8000),
    )


def challenge(
    *,
    title: str = "Mischief",
    description: str = "",
    rules: str = "",
    phase: dict[str, object] | None = None,
    **protocol: object,
) -> str:
    """A challenge file with something changed in it; JSON is YAML."""
    ranking = {"metrics": ["dice"]} | dict(protocol.pop("ranking", {}))  # type: ignore[call-overload]
    rules_of_scores = {
        "protocol": 1,
        "name": "mischief",
        "labels": {"core": {"values": 1, "tolerance_mm": 1}},
        "outputs": [{"name": "segmentation", "kind": "label_map", "file": "segmentation.nii.gz"}],
        "metrics": [{"name": "dice"}],
        "ranking": ranking,
    } | protocol
    if "metrics" in protocol:
        rules_of_scores["ranking"] = {}
    times = {"opens_at": "2026-01-01T00:00:00Z", "closes_at": "2099-01-01T00:00:00Z"}
    document = {
        "slug": SLUG,
        "title": title,
        "description": description,
        "rules": rules,
        "protocol": rules_of_scores,
        "phases": [{"slug": "main"} | times | (phase or {})],
    }
    return json.dumps(document)


def alias_bomb() -> str:
    """Nine lists of nine aliases each, one upon the other."""
    lists = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return "\n".join(["a0: &a0 [x, x]", *lists])
