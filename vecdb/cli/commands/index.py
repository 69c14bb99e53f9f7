"""`vecdb index`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

import vecdb
from vecdb.cli.files import FoundFile, absolute, find_files
from vecdb.cli.indexing import FileReport, file_records, index_files, known_files
from vecdb.cli.options import (
    ExampleCommand,
    complete_embedders,
    database_option,
    format_option,
    key_value_option,
    typed_reference,
)
from vecdb.cli.output import note, write_fields
from vecdb.cli.progress import ProgressBar, format_rate, format_seconds
from vecdb.cli.session import Session, pass_session
from vecdb.cli.training import train_model, unused_model_path
from vecdb.collection import Collection
from vecdb.database import Database
from vecdb.embedder import EmbedderRef
from vecdb.types import Modality

_TRAINED = "fasttext"
_FEW_CHARACTERS = 5_000_000
_OPTIONS: dict[Modality, str] = {
    "text": "--embedder",
    "audio": "--audio-embedder",
    "image": "--image-embedder",
}
_NAMES: dict[Modality, str] = {"text": "texts", "audio": "sounds", "image": "images"}


@click.command(
    cls=ExampleCommand,
    example="vecdb index docs\nvecdb index docs sounds --collection handbook --audio-embedder spectrogram",
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option(
    "--collection",
    "-c",
    metavar="NAME",
    default="files",
    show_default=True,
    help="For texts; sounds go to NAME-audio and images to NAME-image.",
)
@click.option(
    "--embedder",
    "-e",
    metavar="NAME[:MODEL]",
    shell_complete=complete_embedders,
    help="For texts. Default: a fastText model is trained on these texts.",
)
@click.option(
    "--audio-embedder",
    metavar="NAME[:MODEL]",
    shell_complete=complete_embedders,
    help="For sounds. Default: mfcc.",
)
@click.option(
    "--image-embedder",
    metavar="NAME[:MODEL]",
    shell_complete=complete_embedders,
    help="For images; without it they are left out.",
)
@key_value_option("--option", "An option of the embedder for texts. Repeatable.")
@key_value_option("--audio-option", "An option of the embedder for sounds. Repeatable.")
@key_value_option("--image-option", "An option of the embedder for images. Repeatable.")
@database_option
@format_option
@pass_session
def index(
    session: Session,
    *,
    paths: tuple[Path, ...],
    collection: str,
    embedder: str | None,
    audio_embedder: str | None,
    image_embedder: str | None,
    option: dict[str, str],
    audio_option: dict[str, str],
    image_option: dict[str, str],
) -> None:
    """Put files and folders in; again: only what changed.

    Run again, it embeds what is new or changed, and removes what is gone.

    Texts (Markdown, source code, anything in UTF-8) are cut into passages of about 1,000 characters, by
    headings, paragraphs and sentences. Sounds and images go in whole. Hidden files, binary files and
    databases are left out.

    What cannot be embedded is set aside, and tried again when its file changes or with
    `vecdb failures retry`.

    Metadata to filter by: path, kind, size, modified; of texts also heading, line, passage, passages.
    """
    embedders: dict[Modality, tuple[str | None, dict[str, str]]] = {
        "text": (embedder, option),
        "audio": (audio_embedder, audio_option),
        "image": (image_embedder, image_option),
    }
    for kind, (name, options) in embedders.items():
        if options and not name:
            embedder_option = _OPTIONS[kind]
            raise click.UsageError(f"{embedder_option.replace('embedder', 'option')} goes with {embedder_option}.")
        if name is not None:
            _check_takes(session, name, kind)
    missing = [path for path in paths if not path.exists()]
    if missing and not session.folder().exists():
        raise click.UsageError(_no_such(missing[0]))
    with session.open(write=True, create=True) as database:
        indexer = _Indexer(session, database, paths, collection)
        for kind, (name, options) in embedders.items():
            indexer.run(kind, name, options)
    write_fields(session.format, indexer.summary())
    for line in indexer.skipped.lines():
        note(line)


def _check_takes(session: Session, embedder: str, kind: Modality) -> None:
    """Refuse an embedder for another kind of file before a collection is made, which would keep it for good."""
    info = session.plugins.embedder(EmbedderRef.parse(embedder).name)
    if kind in info.modalities:
        return
    takes = sorted(info.modalities)
    option = next((_OPTIONS[modality] for modality in _OPTIONS if modality in info.modalities), None)
    advice = f"give it with {option}, or choose another" if option else "choose another"
    raise vecdb.UnsupportedContentError(
        f"embedder {info.name!r} takes {', '.join(takes)}, not {kind}; {advice} (see `vecdb embedders list`)"
    )


class _Indexer:
    """One run of `vecdb index`: a collection for each kind of file."""

    def __init__(self, session: Session, database: Database, paths: Sequence[Path], name: str) -> None:
        self._session = session
        self._database = database
        self._paths = paths
        self._name = name
        self._base = absolute(database.path).parent
        self.files, self.skipped = find_files(paths, self._base)
        self._reports: dict[str, FileReport] = {}
        self._failed = 0
        self._check_paths()

    def _collection_name(self, kind: Modality) -> str:
        return self._name if kind == "text" else f"{self._name}-{kind}"

    def _check_paths(self) -> None:
        """A path that does not exist is a mistake, unless files below it were indexed before."""
        missing = [path for path in self._paths if not path.exists()]
        if not missing:
            return
        kinds: tuple[Modality, ...] = ("text", "audio", "image")
        names = {self._collection_name(kind) for kind in kinds} & set(self._database.collections())
        known = [self._base / file for name in names for file in known_files(self._database.collection(name))]
        for path in missing:
            place = absolute(path)
            if not any(place == file or place in file.parents for file in known):
                raise click.UsageError(_no_such(path))

    def run(self, kind: Modality, embedder: str | None, options: dict[str, str]) -> None:
        """Bring the collection of this kind up to date."""
        files = [file for file in self.files if file.kind == kind]
        collection = self._collection(kind, files, embedder, options)
        if collection is None:
            return
        with ProgressBar(f"Embedding {_NAMES[kind]}", "kB") as progress:
            report = index_files(
                collection, files, self._paths, self._base, self.skipped, progress=progress
            )
        with ProgressBar(f"Indexing {_NAMES[kind]}", "vectors") as progress:
            collection.optimize(progress=progress)
        self._reports[collection.name] = report
        self._failed += report.report.failed
        if report.report.failed:
            note(f"{report.report.failed:,} of the {_NAMES[kind]} could not be embedded; see `vecdb failures list`.")

    def _collection(
        self, kind: Modality, files: Sequence[FoundFile], embedder: str | None, options: dict[str, str]
    ) -> Collection | None:
        """The collection for this kind, made if there are files for it; None where there is nothing to do."""
        name = self._collection_name(kind)
        exists = name in self._database.collections()
        if exists and embedder is None:
            return self._database.collection(name)
        if not exists and not files:
            return None
        reference = typed_reference(self._session, embedder, options) if embedder else self._default(kind, files)
        return None if reference is None else self._database.get_or_create_collection(name, embedder=reference)

    def _default(self, kind: Modality, files: Sequence[FoundFile]) -> EmbedderRef | None:
        """The embedder for a new collection where none is named; None: files of this kind are left out."""
        if kind == "text":
            return self._train(files)
        reason = "images: name an embedder with --image-embedder"
        if kind == "audio":
            try:
                self._session.plugins.embedder("mfcc").check_available()
                return EmbedderRef("mfcc")
            except vecdb.VecdbError as error:
                reason = f"sounds: {error}"
        for file in files:
            self.skipped.add(reason, file.path)
        return None

    def _train(self, files: Sequence[FoundFile]) -> EmbedderRef:
        """A fastText model of these texts, in the database's folder: works offline and knows their words."""
        info = self._session.plugins.embedder(_TRAINED)
        model = unused_model_path(self._database, self._name)
        # Of few texts, a word that stands there once must count, or hardly any is left.
        few = sum(file.size for file in files) < _FEW_CHARACTERS
        try:
            report = train_model(info, _texts(files), model, {"min_count": 1} if few else {})
        except vecdb.InvalidInputError as error:
            raise vecdb.InvalidInputError(
                f"no embedder can be trained on these files: {str(error).partition(';')[0]}; give more text, "
                "or name an embedder with --embedder (see `vecdb embedders list`)"
            ) from error
        note(
            f"Trained {_TRAINED} on your texts: {report['words']:,} words, {report['vocabulary']:,} different ones, "
            f"in {format_seconds(report['seconds'])}. (Another embedder: --embedder NAME[:MODEL])"
        )
        return EmbedderRef(_TRAINED, {"model": model})

    def summary(self) -> dict[str, Any]:
        """What was done, in numbers."""
        reports = [one.report for one in self._reports.values()]
        seconds = sum(report.seconds for report in reports)
        embedded = sum(report.embedded for report in reports)
        speed = f" ({format_rate(embedded / seconds)}/s)" if embedded and seconds > 0 else ""
        set_aside = sum(one.set_aside for one in self._reports.values())
        fields: dict[str, Any] = {
            "files": sum(one.files for one in self._reports.values()),
            "unchanged": sum(one.unchanged_files for one in self._reports.values()),
            "removed": sum(one.removed_files for one in self._reports.values()),
            "skipped": sum(self.skipped.counts.values()),
            "records added": sum(report.added for report in reports),
            "records updated": sum(report.updated for report in reports),
            "records removed": sum(one.removed for one in self._reports.values()),
            "embedded": embedded,
            "from the cache": sum(report.cached for report in reports),
            "truncated": sum(report.truncated for report in reports),
            "failed": self._failed,
            "set aside": set_aside,
        }
        if self._session.format != "table":
            return {key.replace(" ", "_"): value for key, value in fields.items()} | {
                "seconds": round(seconds, 3),
                "collections": list(self._reports),
            }
        fields["embedded"] = f"{embedded:,}{speed}"
        if fields["truncated"]:
            advice = "only their beginning counts; in a new collection, --option on_truncate=mean takes all of them"
            fields["truncated"] = f"{fields['truncated']:,} ({advice})"
        if set_aside:
            fields["set aside"] = f"{set_aside:,} (see `vecdb failures list`)"
        return {**fields, "collections": list(self._reports)}


def _no_such(path: Path) -> str:
    return f"There is no file or folder {str(path)!r}."


def _texts(files: Sequence[FoundFile]) -> Iterator[str]:
    for file in files:
        try:
            for record in file_records(file):
                yield str(record.content)
        except (OSError, UnicodeDecodeError):  # counted when it is to be embedded
            continue
