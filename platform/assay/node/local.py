"""Running an image on cases of one's own: the same sandbox, the same limits, the same reader and scorer as on a server.

`assay run`, `assay check` and a site's agent all come here. Nothing is sent anywhere.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from assay.client.images import archive_of, cache_folder
from assay.node.folder import (
    NOT_IN_A_NAME,
    FolderCase,
    case_name,
    grid_of,
    made_place,
    place_input,
    write_made_inputs,
)
from assay.node.local_scores import predictions_of, score_batch, verdict_of
from assay.node.orders import ExpectedOutput, FileOrder, InteractionOrder, OrderInvalid, WorkOrder
from assay.node.outputs import CheckedFile, check_outputs
from assay.node.rounds import RoundOrder, RoundsOutcome, run_rounds
from containers.engines import OWNER_LABEL, Engine
from containers.errors import ImageAbsent
from containers.intake import ImageInvalid, Reason, inspect_archive, load_archive
from containers.machine import GpuSlots, borrowed_image, slots_of_this_host
from containers.sandbox import run
from containers.spec import MODEL_FOLDER, Limits, OutputSpec, RunResult, RunSpec, Usage
from containers.verdicts import Verdict
from evaluator.protocol import Protocol
from evaluator.results import CaseResult
from evaluator.scoring import Prompts, make_prompts, wall_seconds_of

RETRY_SECONDS = (2.0, 15.0)
"""Pauses before a case that this machine broke is tried again."""
NO_ANSWERS = frozenset({Verdict.CANCELLED, Verdict.INFRASTRUCTURE})
"""Endings that say nothing about the algorithm."""


class UnsuitableHardware(Exception):
    """This machine lacks what the phase gives to algorithms. That says nothing about the algorithm."""


class NotRun(Exception):
    """A case could not be run to its end, by no fault of the algorithm. There is no score of it."""

    def __init__(self, *, case_id: str, verdict: Verdict, reason: str) -> None:
        self.case_id = case_id
        self.verdict = verdict
        ended = (
            "the run was cancelled, or its lease was lost"
            if verdict is Verdict.CANCELLED
            else f"{len(RETRY_SECONDS) + 1} tries failed on this machine ({reason})"
        )
        super().__init__(
            f"case {case_id} has no result: {ended}. This is no fault of the algorithm, so nothing was scored. "
            "`assay doctor` says what is wrong here; then run it again."
        )


@dataclass(frozen=True, kw_only=True)
class LocalResult:
    """How one case went: verdict, what it consumed, its scores, and the log (which is yours to read here)."""

    case_id: str
    verdict: Verdict
    reason: str
    usage: Usage
    scores: CaseResult
    log: bytes
    names_expected: tuple[str, ...] = ()
    names_found: tuple[str, ...] = ()
    """What the output should hold for this case, and what lies at its top."""


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """Where local runs take place."""

    engine: Engine
    folder: Path
    owner: str
    should_stop: Callable[[], bool] = lambda: False
    """Asked all the time while a container runs."""
    find_gpus: Callable[[], GpuSlots] = lambda: slots_of_this_host()  # noqa: PLW0108  looked up when asked
    at_once: int = 1
    """Cases at the same time. More than one only where a batch system finds the machines."""
    may_lack_gpus: bool = True
    """Whether a machine without enough GPUs runs the algorithm without any, as one's own laptop does. A site does not."""

    @contextmanager
    def taken_gpus(self, count: int) -> Iterator[tuple[str, ...]]:
        """So many GPUs of this machine for one container, as a node takes them. Raises `UnsuitableHardware`."""
        if not count or self.engine.facts().is_batch:  # a batch system gives them, on a machine of its choice
            yield ()
            return
        gpus = self.find_gpus()
        if len(gpus.uuids) < count:
            if not self.may_lack_gpus:
                raise UnsuitableHardware(f"the phase gives {count} GPUs, and this machine has {len(gpus.uuids)}")
            yield ()
            return
        with gpus.taken(count) as uuids:
            yield uuids


@contextmanager
def provided_image(
    image: str, *, workbench: Workbench, protocol: Protocol, model: Path | None = None, model_folder: str = MODEL_FOLDER
) -> Iterator[str]:
    """The ID of an image in the engine: of a local name, or of an archive, inspected and rewritten as on a server.

    A local image is inspected as well where it runs as its own user, who has to be found in its files first, and where a model is added.
    """
    archive = Path(image)
    if not archive.is_file():
        try:
            facts = workbench.engine.image_facts(image)
        except ImageAbsent:
            raise ImageAbsent(f"{image} is neither an archive here nor an image of the local engine") from None
        if protocol.resources.profile != "image-user" and model is None:
            yield facts.image_id
            return
        archive = archive_of(image=image, cache=cache_folder())
    with tempfile.TemporaryDirectory(dir=workbench.folder, prefix="image-") as folder:
        rewritten = Path(folder) / "image.tar"
        needs_command = protocol.resources.command is None
        report = inspect_archive(
            source=archive,
            destination=rewritten,
            needs_command=needs_command,
            model=model,
            model_folder=model_folder,
        )
        if protocol.resources.profile == "image-user" and report.user_problem:
            raise ImageInvalid(
                Reason.USER_UNKNOWN, f"This phase runs an image as its own USER, and {report.user_problem}."
            )
        if needs_command and report.entry_point_problem:
            raise ImageInvalid(
                Reason.ENTRY_POINT, f"The image's program cannot be started: {report.entry_point_problem}"
            )
        load = partial(load_archive, workbench.engine, rewritten, report.image_id)
        with borrowed_image(workbench.engine, image_id=report.image_id, load=load):
            rewritten.unlink()
            yield report.image_id


def run_cases(
    *,
    cases: Sequence[FolderCase],
    image_id: str,
    protocol: Protocol,
    workbench: Workbench,
    keep: Path | None = None,
) -> Iterator[LocalResult]:
    """Run and score every case, one container per case (one for all in cohort mode). Predictions are copied to `keep`.

    What this machine broke is tried again and is never a score. Raises `NotRun` where it stays broken, or on a cancellation. Where the
    workbench runs several cases at once, results come in the order in which they are done, and the first `NotRun` ends the others.
    """
    batches = [list(cases)] if protocol.resources.run_mode == "cohort" else [[case] for case in cases]
    stopping = threading.Event()
    bench = replace(workbench, should_stop=lambda: stopping.is_set() or workbench.should_stop())
    play = partial(_tried_again, image_id=image_id, protocol=protocol, workbench=bench, keep=keep)
    if workbench.at_once == 1:
        for number, batch in enumerate(batches):
            yield from play(batch, number=number)
        return
    with ThreadPoolExecutor(max_workers=workbench.at_once, thread_name_prefix="case") as pool:
        waiting = [pool.submit(play, batch, number=number) for number, batch in enumerate(batches)]
        try:
            for done in as_completed(waiting):
                yield from done.result()
        finally:
            stopping.set()
            for one in waiting:
                one.cancel()


def _tried_again(
    batch: list[FolderCase],
    *,
    number: int,
    image_id: str,
    protocol: Protocol,
    workbench: Workbench,
    keep: Path | None,
) -> list[LocalResult]:
    pauses = list(RETRY_SECONDS)
    while True:
        with tempfile.TemporaryDirectory(dir=workbench.folder, prefix="case-") as folder:
            name = f"assay-local-{Path(folder).name}-{number}"
            results = list(
                _run_batch(
                    batch,
                    order=local_order(batch, image_id=image_id, protocol=protocol, name=name),
                    protocol=protocol,
                    workbench=workbench,
                    folder=Path(folder),
                    keep=keep,
                )
            )
        broken = next((result for result in results if result.verdict in NO_ANSWERS), None)
        if broken is None:
            return results
        if broken.verdict is Verdict.CANCELLED or not pauses:
            raise NotRun(case_id=broken.case_id, verdict=broken.verdict, reason=broken.reason)
        time.sleep(pauses.pop(0))


def local_order(cases: Sequence[FolderCase], *, image_id: str, protocol: Protocol, name: str) -> WorkOrder:
    """A work order for local cases, with nothing to fetch."""
    limits = Limits.from_resources(protocol.document["resources"])
    resources = protocol.resources
    if resources.wall_seconds_per == "case":
        limits = replace(limits, wall_seconds=limits.wall_seconds * len(cases))
    outputs = _shared_table(cases, protocol=protocol) if protocol.has_shared_table else _own_files(cases, protocol)
    return WorkOrder(
        case_run_id="",
        fence=0,
        container_name=NOT_IN_A_NAME.sub("-", name),
        lease_seconds=0.0,
        heartbeat_seconds=0.0,
        image_id=image_id,
        image=FileOrder(path="", sha256="", bytes=0, url=""),
        inputs=(),
        limits=limits,
        command=resources.command,
        environment=_environment(cases, protocol=protocol),
        input_mount=resources.input_mount,
        output_mount=resources.output_mount,
        profile=resources.profile,
        gpu_memory_tolerance_bytes=round(protocol.gpu_memory_tolerance_mb * 2**20),
        outputs=outputs,
        allowed_values=protocol.allowed_values,
        channels=protocol.channels,
        tolerance=protocol.geometry,
        table_form=protocol.table_form,
        input_aliases=resources.input_aliases,
        interaction=_interaction(cases, protocol=protocol),
        tables=protocol.input_tables({case_name(case): case.attributes for case in cases}),
        sockets=protocol.input_sockets(case_name(cases[0]), present=cases[0].inputs) if len(cases) == 1 else {},
    )


def _interaction(cases: Sequence[FolderCase], *, protocol: Protocol) -> InteractionOrder | None:
    if protocol.interaction is None:
        return None
    name = case_name(cases[0])
    return InteractionOrder(
        rounds=protocol.interaction.rounds,
        prompts_path=protocol.interaction.prompts_file.replace("{case}", name),
        previous_path=protocol.interaction.previous_file.replace("{case}", name),
    )


def _environment(cases: Sequence[FolderCase], *, protocol: Protocol) -> dict[str, str]:
    """The phase's variables; `{case}` in one is the name of the only case."""
    given = protocol.resources.environment
    if protocol.resources.run_mode == "cohort":
        return dict(given)
    return {variable: value.replace("{case}", case_name(cases[0])) for variable, value in given.items()}


def _own_files(cases: Sequence[FolderCase], protocol: Protocol) -> tuple[ExpectedOutput, ...]:
    limits = Limits.from_resources(protocol.document["resources"])
    return tuple(
        ExpectedOutput(
            spec=OutputSpec(name=f"{place}/{output}", path=path, max_bytes=limits.output_bytes),
            grid=grid_of(case),
            case=str(place),
            is_document=output in protocol.documents,
            rows={case_name(case): str(place)} if protocol.table_form else {},
        )
        for place, case in enumerate(cases)
        for output, path in protocol.output_files(case_name(case)).items()
    )


def _shared_table(cases: Sequence[FolderCase], *, protocol: Protocol) -> tuple[ExpectedOutput, ...]:
    limits = Limits.from_resources(protocol.document["resources"])
    output = protocol.output
    rows = {case_name(case): str(place) for place, case in enumerate(cases)}
    spec = OutputSpec(name=output.name, path=output.file, max_bytes=limits.output_bytes)
    return (ExpectedOutput(spec=spec, grid=None, rows=rows),)


def _run_batch(
    cases: Sequence[FolderCase],
    *,
    order: WorkOrder,
    protocol: Protocol,
    workbench: Workbench,
    folder: Path,
    keep: Path | None,
) -> Iterator[LocalResult]:
    inputs = folder / "inputs"
    inputs.mkdir(mode=0o755)
    for case in cases:
        paths, kinds = protocol.input_files(case_name(case)), {item.name: item.kind for item in protocol.inputs}
        for name, source in case.inputs.items():
            if name in paths:
                place_input(source, destination=made_place(inputs, paths[name]), kind=kinds[name])
    write_made_inputs(inputs, tables=order.tables, sockets=order.sockets)
    start = partial(
        run,
        engine=workbench.engine,
        scratch=folder,
        should_cancel=workbench.should_stop,
        labels={OWNER_LABEL: workbench.owner},
    )
    with workbench.taken_gpus(order.limits.gpus) as gpu_uuids:
        spec = order.run_spec(input_dir=inputs, gpu_uuids=gpu_uuids)
        if order.interaction is not None:
            played = _play_rounds(cases[0], order=order, protocol=protocol, spec=spec, start=start, folder=folder)
            result, checked = played.result, played.checked
        else:
            result = start(spec)
            checked = check_outputs(order, result=result, folder=folder)
    scored = score_batch(cases, protocol=protocol, order=order, checked=checked, usage=result.usage)
    for place, (case, scores) in enumerate(zip(cases, scored, strict=True)):
        verdict, reason = verdict_of(checked, place=place)
        if keep is not None:
            _keep(predictions_of(checked, place=place), case=case, protocol=protocol, folder=keep)
        yield LocalResult(
            case_id=case.case_id,
            verdict=verdict,
            reason=reason,
            usage=result.usage,
            scores=scores,
            log=result.log,
            names_expected=tuple(protocol.output_files(case_name(case)).values()),
            names_found=result.names_found,
        )
    if keep is not None and protocol.has_shared_table:
        for file in checked.files:
            shutil.copyfile(file.path, keep / protocol.output.file)


def _play_rounds(
    case: FolderCase,
    *,
    order: WorkOrder,
    protocol: Protocol,
    spec: RunSpec,
    start: Callable[[RunSpec], RunResult],
    folder: Path,
) -> RoundsOutcome:
    """The prompts are made here, where the reference is: the container sees neither more nor less than on a server."""
    answers: list[CheckedFile] = []
    told: list[Prompts] = []

    def ask(number: int) -> RoundOrder:
        latest = {protocol.output.name: answers[-1].path} if answers else None
        told.append(
            make_prompts(
                protocol=protocol,
                number=number,
                references=case.references,
                predictions=latest,
                earlier=told[-1] if told else None,
            )
        )
        return RoundOrder(prompts=told[-1].to_json(), wall_seconds=wall_seconds_of(protocol, told[-1]))

    if order.interaction is None:
        raise OrderInvalid("found no `interaction` in the order; expected one, to play it in rounds")
    return run_rounds(
        order, interaction=order.interaction, spec=spec, folder=folder, ask=ask, start=start, keep=answers.append
    )


def _keep(predictions: Mapping[str, Path], *, case: FolderCase, protocol: Protocol, folder: Path) -> None:
    for name, path in protocol.written_files(case_name(case)).items():
        if name in predictions:
            destination = folder / case_name(case) / path
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(predictions[name], destination)
