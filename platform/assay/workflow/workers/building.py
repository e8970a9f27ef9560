"""Submissions of code: a team's zip becomes an image on the organizers' base, with packages from the organizers' wheels.

Theory of operation
-------------------
The scoring pool builds, because it has a container engine and no node has wheels. One run of the base image, in the sandbox of every
submission and without a network, installs what requirements.txt names:

    /input/requirements.txt    the lines that were read and found to name packages only
    /wheels/                   the wheel house
    /output/packages.zip       what pip installed

Nothing of the team's programs is in that run, and no source package is built: pip unpacks wheels of the organizers. The zip's files and
the packages then become one layer on the base, as a model does, below `/app/program` and `/app/packages`. From here on it is an image
like any other.

Whose fault: a line that cannot be read, a package that the wheel house lacks and versions that exclude each other are the team's. A base
without Python and pip, and wheels that are gone, are the organizers'. An engine that does not answer is ours, and is tried again.
"""

import logging
import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath

from django.utils.translation import gettext as _

from assay.accounts.errors import InvalidError
from assay.accounts.models import User
from assay.challenges.models import Challenge
from assay.submissions.code import (
    METADATA,
    PACKAGES_FOLDER,
    PROGRAM_FOLDER,
    REQUIREMENTS,
    CodeRefused,
    Requirement,
    command_of_code,
    read_requirements,
    read_wheels,
    refuse_missing,
    why_not_installed,
)
from assay.submissions.code_parts import PURPOSE_OF, code_part, keep_code_part
from assay.submissions.images import accept_image, reject_image
from assay.submissions.models import AlgorithmImage, CodePart, Submission, Upload
from assay.submissions.reasons import Reason, sentence
from assay.submissions.uploads import require_complete
from assay.testsets import storage
from assay.workflow.workers.images_of_organizers import keep_inspected, run_image
from assay.workflow.workers.zip_files import ArchiveRefused, Extract, opened_zip
from containers.errors import ContainersError
from containers.intake import (
    ImageInvalid,
    IntakeReport,
    IntakeUnavailable,
    KeptImage,
    Program,
    inspect_archive,
)
from containers.log_text import readable
from containers.spec import Limits, OutputSpec, ReadOnlyFolder, RunResult, RunSpec
from containers.verdicts import Verdict
from evaluator.protocol import Resources

log = logging.getLogger(__name__)

APP_FOLDER = "/app"
WHEELS_MOUNT = "/wheels"
PACKAGES = "packages.zip"
MOST_FILES = 20_000
MOST_WHEELS = 5_000
MOST_CODE_BYTES = 4 * 2**30
MOST_PACKAGE_BYTES = 16 * 2**30
LONGEST_DOCUMENT = 2**18
BUILD_LIMITS = Limits(
    wall_seconds=900, memory_bytes=8 * 2**30, tmp_bytes=4 * 2**30, output_bytes=4 * 2**30, output_inodes=64, cpus=1
)
NO_PIP, NOT_INSTALLED = 3, 4
INSTALLER = f"""
import importlib.util, shutil, subprocess, sys
if importlib.util.find_spec("pip") is None:
    sys.exit({NO_PIP})
options = ["--no-index", "--only-binary=:all:", "--find-links", "{WHEELS_MOUNT}", "--target", "/tmp/packages", "--no-cache-dir"]
quiet = ["--disable-pip-version-check", "--no-color", "--no-input", "--quiet"]
done = subprocess.run([sys.executable, "-m", "pip", "install", *options, *quiet, "-r", "/input/{REQUIREMENTS}"])
if done.returncode:
    sys.exit({NOT_INSTALLED})
import os
os.makedirs("/tmp/packages", exist_ok=True)
shutil.make_archive("/output/packages", "zip", "/tmp/packages")
"""


class BuildStopped(Exception):
    """The submission was cancelled while its code was built."""


class PartUnusable(Exception):
    """What the organizers provide cannot be used. The text is for them and for the team."""


def take_base_image(*, challenge: Challenge, user: User, upload: Upload, now: datetime) -> CodePart:
    """Inspect an archive as a submission's is, and keep its rewritten form under the ID that protocols name."""
    report, stored = keep_inspected(upload, below=f"code-parts/{challenge.pk}", needs_command=False)
    return keep_code_part(
        challenge=challenge,
        user=user,
        kind=CodePart.Kind.BASE,
        identity=report.image_id,
        filename=upload.filename,
        key=stored.key,
        sha256=stored.sha256,
        stored_bytes=stored.bytes,
        report=report.to_json(),
        now=now,
    )


def take_wheels(*, challenge: Challenge, user: User, upload: Upload, now: datetime) -> CodePart:
    """Keep a zip of wheels under its hash. Raises InvalidError where it holds anything else, or nothing."""
    source = storage.unchanged_path(upload.key, sha256=upload.sha256)
    try:
        with opened_zip(source, most=MOST_WHEELS) as files:
            names = [PurePosixPath(name).name for name in files]
        wheels = read_wheels(names)
    except ArchiveRefused as problem:
        raise InvalidError(_("This is no zip of wheels."), found=english(problem), expected=_("a zip")) from problem
    except ValueError as problem:
        raise InvalidError(
            _("The zip holds a file that is no wheel."),
            found=str(problem)[:80],
            expected=_("files such as numpy-1.26.4-cp311-cp311-manylinux_2_17_x86_64.whl"),
            what_to_do=_("Make them with `pip download --only-binary=:all: -d wheels PACKAGE …`, then zip the folder."),
        ) from problem
    if not wheels:
        raise InvalidError(_("The zip holds no wheel."), found=_("no file"), expected=_("wheels"))
    if len(set(names)) != len(names):
        raise InvalidError(_("The zip holds a wheel twice."), expected=_("each wheel once"))
    key = f"code-parts/{challenge.pk}/{upload.sha256}.zip"
    with storage.scratch_folder() as folder:
        shutil.copyfile(source, folder / "wheels.zip")
        stored = storage.keep_file(source=folder / "wheels.zip", key=key, move=True, sha256=upload.sha256)
    return keep_code_part(
        challenge=challenge,
        user=user,
        kind=CodePart.Kind.WHEELS,
        identity=f"sha256:{upload.sha256}",
        filename=upload.filename,
        key=key,
        sha256=stored.sha256,
        stored_bytes=stored.bytes,
        report={"wheels": wheels},
        now=now,
    )


def take_code_part(*, challenge: Challenge, user: User, kind: CodePart.Kind, upload: Upload, now: datetime) -> CodePart:
    """Keep a base image or a zip of wheels that was uploaded. Raises `AssayError`."""
    require_complete(upload, purpose=PURPOSE_OF[kind])
    take = take_base_image if kind == CodePart.Kind.BASE else take_wheels
    return take(challenge=challenge, user=user, upload=upload, now=now)


def build_image(*, submission: Submission, image: AlgorithmImage, resources: Resources) -> None:
    """Make the image of a team's code, and note what came of it. Raises IntakeUnavailable where the fault is ours.

    Where the submission was cancelled meanwhile the build stops, and the image is as before: another submission of it is built.
    """
    upload = image.upload
    if upload is None or not upload.key:
        reject_image(image_id=image.pk, reason=Reason.UPLOAD_GONE, message="the upload is gone")
        return
    try:
        with storage.scratch_folder() as folder:
            report = _built(
                archive=storage.unchanged_path(upload.key, sha256=upload.sha256),
                submission=submission,
                resources=resources,
                folder=folder,
            )
            key = f"images/{image.pk}/{report.image_id[7:]}.tar"
            stored = storage.keep_file(source=folder / "image.tar", key=key, move=True, sha256=report.sha256)
    except PartUnusable as problem:
        reject_image(image_id=image.pk, reason=Reason.BUILD_FAULT, message=str(problem))
        log.warning("code.part_unusable", extra={"image": str(image.pk), "problem": str(problem)})
    except BuildStopped:
        log.info("code.build_stopped", extra={"image": str(image.pk)})
    except (CodeRefused, ImageInvalid) as problem:
        reject_image(image_id=image.pk, reason=Reason.IMAGE_REFUSED, message=str(problem))
        log.info("code.refused", extra={"image": str(image.pk)})
    except ArchiveRefused as problem:
        reject_image(image_id=image.pk, reason=Reason.IMAGE_REFUSED, message=english(problem))
    else:
        accept_image(
            image_id=image.pk, key=stored.key, sha256=stored.sha256, size_bytes=stored.bytes, report=report.to_json()
        )
        log.info("code.built", extra={"image": str(image.pk), "image_id": report.image_id})


def _built(*, archive: Path, submission: Submission, resources: Resources, folder: Path) -> IntakeReport:
    """Write `image.tar` into the folder. Raises CodeRefused, ArchiveRefused, ImageInvalid, PartUnusable or IntakeUnavailable."""
    base = _part(submission, kind=CodePart.Kind.BASE, identity=resources.code_base)
    if not zipfile.is_zipfile(archive):
        raise CodeRefused(
            "The upload is no zip. Hand in one zip with predict.py, and requirements.txt where it needs packages."
        )
    with opened_zip(archive, most=MOST_FILES) as zipped, tarfile.open(folder / "code.tar", "w") as layer:
        files = _below_one_folder(zipped)
        documents = {name: _document(files[name], folder) for name in (REQUIREMENTS, *METADATA) if name in files}
        command = resources.command or command_of_code(
            files.keys(),
            metadata=next((documents[name] for name in METADATA if name in documents), None),
            input_mount=resources.input_mount,
            output_mount=resources.output_mount,
        )
        _add(layer, files, below=PROGRAM_FOLDER, most_bytes=MOST_CODE_BYTES, folder=folder)
        requirements = read_requirements(documents.get(REQUIREMENTS, b""))
        if requirements:
            packages = _installed(
                requirements, base=base, submission=submission, resources=resources, folder=folder / "build"
            )
            with opened_zip(packages, is_left_out=lambda _name: False) as found:
                _add(layer, found, below=PACKAGES_FOLDER, most_bytes=MOST_PACKAGE_BYTES, folder=folder)
    return inspect_archive(
        source=storage.unchanged_path(base.key, sha256=base.sha256),
        destination=folder / "image.tar",
        needs_command=False,
        model=folder / "code.tar",
        model_folder=APP_FOLDER,
        kept=KeptImage.of_report(base.report, has_model=False),
        program=Program(command=command, working_dir=PROGRAM_FOLDER, python_path=PACKAGES_FOLDER),
    )


def _installed(
    requirements: tuple[Requirement, ...], *, base: CodePart, submission: Submission, resources: Resources, folder: Path
) -> Path:
    """The zip of packages that the base image's pip made of the wheel house."""
    wheels: Mapping[str, list[str]] = {}
    (folder / "input").mkdir(parents=True)
    (folder / "wheels").mkdir()
    if resources.code_wheels:
        part = _part(submission, kind=CodePart.Kind.WHEELS, identity=resources.code_wheels)
        wheels = part.report["wheels"]
        refuse_missing(requirements, wheels=wheels)
        _unpack_wheels(part, into=folder / "wheels")
    refuse_missing(requirements, wheels=wheels)
    (folder / "input" / REQUIREMENTS).write_text("".join(f"{wanted.text}\n" for wanted in requirements))
    (folder / "input" / REQUIREMENTS).chmod(0o444)
    waiting = Submission.objects.filter(pk=submission.pk, status=Submission.Status.CHECKING)
    spec = RunSpec(
        name=f"assay-build-{submission.pk.hex}",
        image_id=base.identity,
        input_dir=folder / "input",
        read_only=(ReadOnlyFolder(source=folder / "wheels", mount=WHEELS_MOUNT),),
        outputs=(OutputSpec(name="packages", path=PACKAGES, max_bytes=BUILD_LIMITS.output_bytes),),
        limits=BUILD_LIMITS,
        command=("python3", "-c", INSTALLER),
    )
    try:
        result = run_image(
            spec,
            work=f"build-{submission.pk}",
            archive=lambda: storage.unchanged_path(base.key, sha256=base.sha256),
            scratch=folder,
            should_cancel=lambda: not waiting.exists(),
        )
    except (ContainersError, OSError) as problem:
        raise IntakeUnavailable(f"the code was not built: {problem}") from problem
    return _packages_of(result, requirements=requirements, wheels=wheels)


def _packages_of(result: RunResult, *, requirements: tuple[Requirement, ...], wheels: Mapping[str, list[str]]) -> Path:
    """What the run wrote, or whose fault it is that it wrote nothing."""
    if result.verdict == Verdict.OK:
        return result.outputs[0].path
    if result.verdict == Verdict.CANCELLED:
        raise BuildStopped
    if result.verdict == Verdict.INFRASTRUCTURE:
        raise IntakeUnavailable(f"the code was not built: {result.verdict} {result.reason}")
    said = readable(result.log)
    if result.exit_code == NOT_INSTALLED:
        raise CodeRefused(why_not_installed(said, requirements=requirements, wheels=wheels))
    if result.verdict == Verdict.IMAGE_INVALID or result.exit_code in (NO_PIP, 126, 127):
        raise PartUnusable("the base image has no python3 with pip, which installs the packages")
    raise CodeRefused(
        f"The packages of {REQUIREMENTS} were not installed: {result.verdict} {result.reason}. "
        f"The build has {BUILD_LIMITS.wall_seconds:.0f} s, {BUILD_LIMITS.memory_bytes // 2**30} GiB of memory and "
        f"{BUILD_LIMITS.tmp_bytes // 2**30} GiB of packages."
    )


def _part(submission: Submission, *, kind: CodePart.Kind, identity: str) -> CodePart:
    part = code_part(challenge=submission.challenge, kind=kind, identity=identity)
    if part is None or not storage.has_file(part.key):
        raise PartUnusable(f"{kind} {identity[:19]}… is not here; push it again")
    return part


def _unpack_wheels(part: CodePart, *, into: Path) -> None:
    with opened_zip(storage.unchanged_path(part.key, sha256=part.sha256), most=MOST_WHEELS) as files:
        for name, extract in files.items():
            target = into / PurePosixPath(name).name
            if not extract(target, MOST_PACKAGE_BYTES):
                raise PartUnusable(f"{target.name} is larger than {MOST_PACKAGE_BYTES} bytes")
            target.chmod(0o444)


def _below_one_folder(files: Mapping[str, Extract]) -> Mapping[str, Extract]:
    """The same files, named from the one folder that holds all of them: people zip a folder as often as what is in it."""
    tops = {name.partition("/")[0] for name in files}
    if len(tops) != 1 or any("/" not in name for name in files):
        return files
    return {name.partition("/")[2]: extract for name, extract in files.items()}


def _document(extract: Extract, folder: Path) -> bytes:
    path = folder / "document"
    if not extract(path, LONGEST_DOCUMENT):
        raise CodeRefused(
            f"{REQUIREMENTS} or metadata has more than {LONGEST_DOCUMENT} bytes. Put only lines of text into it."
        )
    return path.read_bytes()


def _add(layer: tarfile.TarFile, files: Mapping[str, Extract], *, below: str, most_bytes: int, folder: Path) -> None:
    """Files into the layer, named from `/app`. Nothing of a member but its bytes and its name is kept."""
    left, path = most_bytes, folder / "member"
    for name, extract in sorted(files.items()):
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise CodeRefused(
                f"The zip holds the name {name[:80]!r}, which leads out of its folder. Zip the folder anew."
            )
        if not extract(path, left):
            raise CodeRefused(f"Unpacked, the files have more than {most_bytes:,} bytes, the most allowed here.")
        left -= path.stat().st_size
        entry = tarfile.TarInfo(f"{below.removeprefix(APP_FOLDER + '/')}/{'/'.join(parts)}")
        entry.size = path.stat().st_size
        with path.open("rb") as content:
            layer.addfile(entry, content)


def english(problem: ArchiveRefused) -> str:
    """The sentence of why an archive is refused. That of a file that is no zip speaks of cases."""
    if problem.told.reason == Reason.NOT_A_ZIP:
        return "no zip archive"
    return sentence(str(problem.told.reason), problem.told.facts)
