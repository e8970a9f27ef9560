"""Images of organizers, in the worker that runs them: taken in like an algorithm's image, run in the same sandbox, on the scoring pool."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from assay.evaluations.receipts import installation_name
from assay.submissions.models import Upload
from assay.testsets import storage
from assay.testsets.storage import StoredFile
from containers.engines import OWNER_LABEL, Engine
from containers.engines.choice import EngineChoice, EngineKind
from containers.intake import ImageInvalid, IntakeReport, inspect_archive, load_archive
from containers.sandbox import remove_leftovers, run
from containers.spec import RunResult, RunSpec


def open_engine() -> AbstractContextManager[Engine]:
    """The scoring worker's container engine."""
    return EngineChoice(kind=EngineKind(settings.METRIC_ENGINE), socket=settings.METRIC_ENGINE_SOCKET).open()


def keep_inspected(upload: Upload, *, below: str, needs_command: bool = True) -> tuple[IntakeReport, StoredFile]:
    """Inspect an uploaded archive as a submission's is, and keep its rewritten form below that key. Raises InvalidError."""
    with storage.scratch_folder() as folder:
        rewritten = folder / "image.tar"
        try:
            report = inspect_archive(
                source=storage.unchanged_path(upload.key, sha256=upload.sha256),
                destination=rewritten,
                needs_command=needs_command,
            )
        except ImageInvalid as problem:
            raise InvalidError(
                str(problem), code="image_invalid", found=str(problem.reason), expected=_("a docker save archive")
            ) from problem
        key = f"{below}/{report.image_id[7:]}.tar"
        return report, storage.keep_file(source=rewritten, key=key, move=True)


def run_image(
    spec: RunSpec, *, work: str, archive: Callable[[], Path], scratch: Path, should_cancel: Callable[[], bool]
) -> RunResult:
    """Run it once, after what an attempt at the same `work` left that died. `archive` is asked for where the engine lacks the image."""
    owner = f"{installation_name(folder=Path(settings.KEY_FOLDER))}/{work}"
    with open_engine() as engine:
        remove_leftovers(engine, owner=owner, keep=set())
        if spec.image_id not in engine.image_ids():
            load_archive(engine, archive(), spec.image_id)
        return run(spec, engine=engine, scratch=scratch, should_cancel=should_cancel, labels={OWNER_LABEL: owner})
