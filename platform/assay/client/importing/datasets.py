"""What the importers of data folders share: pairing images with references, and the draft of a challenge around cases."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.client.errors import ClientError
from assay.client.importing.draft import (
    DEFAULT_SCORING,
    NOT_IN_A_CASE_ID,
    VOLUME_ENDINGS,
    Draft,
    DraftCase,
    DraftPhase,
    Notes,
    named_protocol,
    segmentation_protocol,
    slug_of,
)
from assay.client.importing.options import Options
from assay.client.importing.sources import visible_files

HIDDEN = "hidden"


def volumes_in(folder: Path) -> dict[str, Path]:
    """The volumes directly in `folder` by their name without the ending. Two endings of one name are an error."""
    found: dict[str, Path] = {}
    for path in visible_files(folder):
        ending = next((e for e in VOLUME_ENDINGS if path.name.lower().endswith(e)), None)
        if ending is None:
            continue
        name = path.name[: -len(ending)]
        if name in found:
            raise ClientError(
                f"{folder.name} holds {name} twice", found=f"{found[name].name} and {path.name}", expected="one of them"
            )
        found[name] = path
    return found


def case_id_of(name: str, *, seen: set[str]) -> str:
    """The name as a case id. Raises `ClientError` where two names become one id."""
    case_id = NOT_IN_A_CASE_ID.sub("-", name).strip("-.") or "case"
    if case_id.lower() in seen:
        raise ClientError(
            "Two cases have one name", found=name, expected="names that differ in more than case and signs"
        )
    seen.add(case_id.lower())
    return case_id


def refuse_unpaired(what: str, *, without_reference: Iterable[str], without_image: Iterable[str]) -> None:
    """Every image needs its reference. Names that differ are listed, so that a wrong ending is seen at once."""
    images, references = sorted(without_reference), sorted(without_image)
    if images:
        raise ClientError(
            f"{what}: {len(images)} images have no reference",
            found=", ".join(images[:5])
            + (f"; references without an image: {', '.join(references[:5])}" if references else ""),
            expected="a reference of the same name for every image",
        )
    if references:
        raise ClientError(
            f"{what}: {len(references)} references have no image",
            found=", ".join(references[:5]),
            expected="an image of the same name for every reference",
        )


def challenge_around(
    *,
    format_name: str,
    options: Options,
    notes: Notes,
    name: str,
    cases: Sequence[DraftCase],
    labels: Mapping[str, Any],
    inputs: Sequence[Mapping[str, Any]],
    output: str,
    summary: str = "",
    description: str = "",
    licence: str = "",
    citation: str = "",
    modality: str = "",
) -> Draft:
    """A challenge with one phase on these cases."""
    slug = options.slug or slug_of(name)
    title = options.title or name
    if options.protocol:
        protocol = named_protocol(options.protocol)
        check_inputs(protocol, inputs=inputs, name=options.protocol)
        protocol["inputs"] = [dict(item) for item in inputs] or protocol.get("inputs", [])
        notes.changed("rules", f"labels, metrics and ranking come from the protocol {options.protocol}")
    else:
        protocol = segmentation_protocol(name=slug, title=title[:200], labels=labels, inputs=inputs, output=output)
        notes.changed("rules", DEFAULT_SCORING)
    attributes = sorted({key for case in cases for key, value in case.attributes.items() if value})
    if attributes and "breakdowns" not in protocol:
        notes.taken("attributes", f"{', '.join(attributes)}: name them under `breakdowns` to report by them")
    return Draft(
        format=format_name,
        slug=slug,
        title=title,
        protocol=protocol,
        phases=(
            DraftPhase(slug="final", title="Final test", testset=HIDDEN, submission_limit_total=1, is_embargoed=True),
        ),
        notes=tuple(notes.lines),
        summary=summary,
        description=description,
        licence=licence,
        citation=citation,
        modality=modality,
        testsets={HIDDEN: tuple(cases)},
    )


def check_inputs(protocol: Mapping[str, Any], *, inputs: Sequence[Mapping[str, Any]], name: str) -> None:
    """A chosen protocol must have as many inputs as the cases have images."""
    expected = [item["name"] for item in protocol.get("inputs", []) if item.get("kind", "image") == "image"]
    if inputs and expected and len(expected) != len(inputs):
        raise ClientError(
            f"The protocol {name} does not fit these cases",
            found=f"{len(inputs)} images per case: {', '.join(str(item['name']) for item in inputs)}",
            expected=f"{len(expected)} images per case: {', '.join(expected)}",
        )
