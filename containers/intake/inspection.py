"""The inspection itself: two passes over one descriptor, in constant memory. Runs inside the limited child process.

The first pass lists the archive's members and keeps its small documents. From them follow the configuration and which member
is which layer. The second pass reads every layer once: each chunk is counted, hashed and written to the new archive while the
tar inside is walked. The new archive exists only if everything held.
"""

import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from containers.intake.accounts import ImageUser, UserUnknown, resolve_user
from containers.intake.config import SYSTEM_FOLDERS, Program, VettedConfig, vet_config
from containers.intake.entry_point import NotRunnable, Stack, wanted_names
from containers.intake.layers import Sightings, walk_layer
from containers.intake.layout import ImageLayout, find_image, member_name, survey_archive
from containers.intake.limits import Account, IntakeLimits
from containers.intake.model import ModelLayer, open_model, open_model_layer
from containers.intake.reasons import ImageInvalid, Reason
from containers.intake.report import IntakeReport
from containers.intake.rewrite import ArchiveWriter
from containers.intake.streams import Stream, open_file, uncompressed
from containers.intake.tar import Kind, is_tar, read_entries

NOBODY = 65532
"""Who runs, unless the profile lets an image run as its own user."""


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """An open model archive, and the folder of the image that its files shall lie in."""

    descriptor: int
    folder: str
    kept_in: str = ""
    """The folder it lay in, where the descriptor is an archive of ours that has the model as its last layer."""


@dataclass(frozen=True, kw_only=True)
class KeptImage:
    """What is known of a source that is one of our own archives: it was checked before, and gets another model now."""

    user: str
    uploaded_image_id: str
    neutralised: tuple[str, ...]
    has_model: bool
    """Its last layer is a model, which is left out."""

    @classmethod
    def of_report(cls, report: dict[str, Any], *, has_model: bool) -> "KeptImage":
        """From the report of the image's first check."""
        return cls(
            user=str(report["user"]),
            uploaded_image_id=str(report["uploaded_image_id"]),
            neutralised=tuple(report["neutralised"]),
            has_model=has_model,
        )

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "KeptImage":
        """From plain values: lists become tuples again."""
        return cls(**{**document, "neutralised": tuple(document["neutralised"])})


def inspect(
    *,
    source: int,
    destination: int,
    limits: IntakeLimits,
    architecture: str,
    needs_command: bool,
    model: ModelSource | None = None,
    kept: KeptImage | None = None,
    program: Program | None = None,
) -> IntakeReport:
    """Judge the archive at descriptor `source` and write the rewritten one to `destination`, with the model as its last layer.

    `kept`: the source is an archive that this function wrote. The image gets the same ID as from its first upload.
    `program`: what the image starts, in place of what its configuration says.
    """
    archive_bytes = os.fstat(source).st_size
    if archive_bytes == 0:
        raise ImageInvalid(Reason.TRUNCATED, "The archive is empty: upload it again.")
    survey = survey_archive(stream=_open_archive(source, limits=limits), limits=limits)
    layout = find_image(survey=survey, architecture=architecture, limits=limits)
    config = vet_config(raw=layout.config, architecture=architecture, limits=limits, needs_command=needs_command)
    if kept is not None:
        config = config.as_uploaded(
            user=kept.user, uploaded_image_id=kept.uploaded_image_id, neutralised=kept.neutralised
        )
        if kept.has_model:
            config, layout = config.without_last_layer(), replace(layout, layers=layout.layers[:-1])
    if program is not None:
        config = config.with_program(program)
    if len(config.diff_ids) != len(layout.layers):
        raise ImageInvalid(
            Reason.LAYER_MISMATCH,
            f"The archive holds {len(layout.layers)} layers, the image's configuration lists {len(config.diff_ids)}. Save it again.",
        )
    writer = ArchiveWriter(destination)
    model_bytes = os.fstat(model.descriptor).st_size if model else 0
    account = Account(limits=limits, archive_bytes=archive_bytes + model_bytes)
    layers = _copy_layers(
        stream=_open_archive(source, limits=limits), layout=layout, config=config, writer=writer, account=account
    )
    sightings = Sightings(versions=dict(config.versions))
    for diff_id in config.diff_ids:
        sightings.cover(layers[diff_id])
    _refuse_links(config, sightings)
    if model is not None:
        config = config.with_layer(_add_model(model, architecture, writer=writer, account=account, limits=limits))
    user, user_problem = None, ""
    try:
        user = resolve_user(user=config.user, home=config.home, files=sightings.accounts)
    except UserUnknown as problem:
        user_problem = str(problem)
    if user is not None:
        config = config.of_user(user=str(user), home=user.home)
    writer.write_description(config)  # last, because the user's number lies in the layers
    sha256, length = writer.finish()
    return _report(
        config=config,
        account=account,
        sightings=sightings,
        sha256=sha256,
        length=length,
        user=user,
        user_problem=user_problem,
    )


def _add_model(
    model: ModelSource, architecture: str, *, writer: ArchiveWriter, account: Account, limits: IntakeLimits
) -> str:
    """Write the layer of the model, and answer its diff_id. It is made twice: its name is the hash of what it will be."""
    digest = hashlib.sha256()
    for piece in _model_layer(model, architecture, limits=limits, account=account).pieces():
        account.add_bytes(piece)
        digest.update(piece)
    diff_id = f"sha256:{digest.hexdigest()}"
    start = writer.begin_layer(diff_id=diff_id, size=None)
    for piece in _model_layer(model, architecture, limits=limits).pieces():
        writer.write_chunk(piece)
    writer.end_layer(start=start, diff_id=diff_id)
    return diff_id


def _model_layer(
    model: ModelSource, architecture: str, *, limits: IntakeLimits, account: Account | None = None
) -> ModelLayer:
    """The layer from the model's own archive, or from the image that it was kept in."""
    if not model.kept_in:
        return ModelLayer(open_model(model.descriptor), folder=model.folder, account=account)
    survey = survey_archive(stream=_open_archive(model.descriptor, limits=limits), limits=limits)
    layout = find_image(survey=survey, architecture=architecture, limits=limits)
    stream = open_model_layer(model.descriptor, layout=layout)
    return ModelLayer(stream, folder=model.folder, kept_in=model.kept_in, account=account)


def _open_archive(source: int, *, limits: IntakeLimits) -> Stream:
    """The outer tar. What a compression yields is counted. A plain archive yields itself, so members can be passed over."""
    file = open_file(source)
    stream = uncompressed(file)
    if stream is not file:
        account = Account(limits=limits, archive_bytes=os.fstat(source).st_size)
        stream = stream.watched(account.add_bytes)
    if not is_tar(stream):
        raise ImageInvalid(
            Reason.NOT_AN_ARCHIVE,
            "This is no container image. Upload the output of `docker save`, plain or compressed by gzip or zstd.",
        )
    return stream


def _copy_layers(
    *, stream: Stream, layout: ImageLayout, config: VettedConfig, writer: ArchiveWriter, account: Account
) -> dict[str, Sightings]:
    """Hash, walk and copy every layer in the order the archive has them. What was noticed, by diff_id."""
    expected: dict[str, str] = {}
    for name, diff_id in zip(layout.layers, config.diff_ids, strict=True):
        if expected.setdefault(name, diff_id) != diff_id:
            raise ImageInvalid(
                Reason.LAYER_MISMATCH, f"The layer {name[:200]!r} stands for two different diff_ids. Save it again."
            )
    watched, wanted = _watched_paths(config.working_dir), wanted_names((*config.entrypoint, *config.command))
    sightings: dict[str, Sightings] = {}
    for entry in read_entries(stream):
        name = member_name(entry)
        if entry.kind is Kind.FILE and name in expected:
            body = stream.limited(entry.size)
            layer = uncompressed(body)
            start = writer.begin_layer(diff_id=expected[name], size=entry.size if layer is body else None)
            copy = LayerCopy(account=account, writer=writer)
            layer = layer.watched(copy.add)
            sightings[expected[name]] = walk_layer(stream=layer, account=account, watched=watched, wanted=wanted)
            _check_diff_id(name=name, found=copy.diff_id, expected=expected[name])
            writer.end_layer(start=start, diff_id=expected[name])
    return sightings


class LayerCopy:
    """Counts, hashes and writes every chunk of one layer before anything inside it is believed."""

    def __init__(self, *, account: Account, writer: ArchiveWriter) -> None:
        self._account = account
        self._writer = writer
        self._digest = hashlib.sha256()

    def add(self, chunk: bytes | memoryview) -> None:
        """One more chunk, in order."""
        self._account.add_bytes(chunk)
        self._digest.update(chunk)
        self._writer.write_chunk(chunk)

    @property
    def diff_id(self) -> str:
        """The layer's identity so far."""
        return f"sha256:{self._digest.hexdigest()}"


def _check_diff_id(*, name: str, found: str, expected: str) -> None:
    if found != expected:
        raise ImageInvalid(
            Reason.LAYER_MISMATCH,
            f"The content of layer {name[:200]!r} is {found[:19]}…, the image's configuration says {expected[:19]}…. Save it again.",
        )


def _watched_paths(working_dir: str) -> frozenset[bytes]:
    path = PurePosixPath(working_dir)
    parts = (path, *path.parents, *map(PurePosixPath, SYSTEM_FOLDERS))
    return frozenset(str(part).strip("/").encode() for part in parts if str(part) != "/")


def _refuse_links(config: VettedConfig, sightings: Sightings) -> None:
    """A working directory that is a link could lead to /proc/self/fd/N, which old engines enter before the container is closed
    (CVE-2024-21626). Where /dev is one, old runtimes set up devices on the host (CVE-2026-41579).
    """
    for name, kind in sightings.watched.items():
        if kind is Kind.FOLDER:
            continue
        if (path := f"/{name.decode(errors='replace')}") in SYSTEM_FOLDERS:
            problem = f"{path} is a link or a file. Leave {', '.join(SYSTEM_FOLDERS)} as they are in your base image."
        else:
            problem = (
                f"WORKDIR {config.working_dir[:200]!r} is a link, leads through one, or is no folder. "
                "Name a real folder in the Dockerfile."
            )
        raise ImageInvalid(Reason.UNSAFE_CONFIGURATION, problem)


def _report(
    *,
    config: VettedConfig,
    account: Account,
    sightings: Sightings,
    sha256: str,
    length: int,
    user: ImageUser | None,
    user_problem: str,
) -> IntakeReport:
    warnings = []
    if sightings.kinds[Kind.DEVICE]:
        warnings.append(f"{sightings.kinds[Kind.DEVICE]} device files in the image cannot be used in a run")
    if sightings.setuid_files:
        warnings.append(f"{sightings.setuid_files} set-uid or set-gid files have no effect in a run")
    profile, because = _needed_profile(config=config, sightings=sightings, user=user)
    words = (*config.entrypoint, *config.command)
    programs = Stack(layers=sightings.programs, working_dir=config.working_dir, search_path=config.search_path)
    return IntakeReport(
        uploaded_image_id=config.uploaded_image_id,
        image_id=config.image_id,
        architecture=config.architecture,
        layers=len(config.diff_ids),
        bytes=length,
        sha256=sha256,
        unpacked_bytes=account.unpacked_bytes,
        entrypoint=config.entrypoint,
        command=config.command,
        working_dir=config.working_dir,
        user=config.user,
        neutralised=config.neutralised,
        warnings=tuple(warnings),
        warnings_as_user=(
            *_user_dropped(config, user),
            *_closed_to(NOBODY, sightings),
            *programs.doubts(words, uid=NOBODY),
            *(because if profile == "image-user" else ()),
        ),
        warnings_as_image_user=(
            *_closed_to(NOBODY if user is None else user.uid, sightings),
            *programs.doubts(words, uid=NOBODY if user is None else user.uid),
        ),
        entry_point_problem=_entry_point_problem(programs, words),
        run_user="" if user is None else str(user),
        home="" if user is None else user.home,
        user_problem=user_problem,
        needed_profile=profile,
        needed_because=because,
        **sightings.to_json(),
    )


def _entry_point_problem(programs: Stack, words: tuple[str, ...]) -> str:
    """Why the image's own program cannot be started by anybody; empty when it can, or where the layers do not tell."""
    try:
        if words:
            programs.check(words)
    except NotRunnable as problem:
        return str(problem)
    return ""


def _user_dropped(config: VettedConfig, user: ImageUser | None) -> tuple[str, ...]:
    if user is None or user.uid == NOBODY:
        return ()
    return (
        f"USER {config.user} (uid {user.uid}) has no effect: a run has uid {NOBODY}, unless the phase's profile is `image-user`",
    )


def _needed_profile(
    *, config: VettedConfig, sightings: Sightings, user: ImageUser | None
) -> tuple[str, tuple[str, ...]]:
    """Which profile the image was built for, and why. What an image writes while it runs cannot be seen in its files."""
    if user is None:
        closed = sightings.closed_files[0]
        example = _shown(sightings.closed_examples.get(0, b""))
        because = (f"{closed} files (such as {example}) can be read by root only",) if closed else ()
        return ("legacy", because) if because else ("default", ())
    who = f"USER {config.user} (uid {user.uid})"
    found = []
    if user.home.strip("/").encode() in sightings.user_packages:
        found.append(f"packages of `pip install --user` lie in {user.home}, the home of {who}")
    if sightings.owners.get(config.working_dir.strip("/").encode()) == user.uid:
        found.append(f"WORKDIR {config.working_dir[:200]} belongs to {who}, who may write there where it was built")
    if closed := sightings.closed_files[user.uid]:
        found.append(
            f"{closed} files (such as {_shown(sightings.closed_examples[user.uid])}) can be read by {who} only"
        )
    return ("image-user" if found else "default", tuple(found))


def _closed_to(uid: int, sightings: Sightings) -> tuple[str, ...]:
    """The warning about files that a run with this uid cannot read."""
    counts = {owner: count for owner, count in sightings.closed_files.items() if owner != uid}
    if not counts:
        return ()
    owner = max(counts, key=lambda owner: (owner == 0, counts[owner]))
    who = "root" if set(counts) == {0} else "their owners"
    example = _shown(sightings.closed_examples[owner])
    warning = (
        f"{sum(counts.values())} files (such as {example}) can be read by {who} only: a run has uid {uid} and "
        "will fail on them. Open them with `RUN chmod -R a+rX …` in the Dockerfile"
    )
    return (warning,)


def _shown(path: bytes) -> str:
    text = path[:80].decode(errors="replace")
    return "/" + "".join(character for character in text if character.isprintable())
