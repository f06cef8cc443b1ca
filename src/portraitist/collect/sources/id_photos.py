"""Identification photos of persons who agreed: a folder of pictures, and `consent.csv`, one row a file.

file,subject_id,consent,date,scope,minor
0001.jpg,p17,yes,2026-05-04,training of avatar models,no
"""

from collections.abc import Iterator

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import CollectParams
from portraitist.collect.sources import Candidate, SourceError, find_pictures
from portraitist.collect.sources._saved_pages import rows_of
from portraitist.core.outcome import Status

COLUMNS = ["file", "subject_id", "consent", "date", "scope", "minor"]


def candidates(params: CollectParams, ask: FetchCache) -> Iterator[Candidate]:
    """Every picture in the folder. One without consent, or of a minor, is refused and has a row that says so.

    Raises:
        SourceError: The folder or the list is missing or malformed, or the list names a file that is not there.
    """
    files = {path.relative_to(params.path).as_posix(): path for path in find_pictures(params.path)}
    agreed = _consents(params)
    missing = sorted(set(agreed) - set(files))
    if missing:
        raise SourceError(f"consent.csv names {missing[0]}, which is not in {params.path}")
    for name, path in files.items():
        row = agreed.get(name, {})
        why = _why_not(row)
        yield Candidate(
            "selfies",
            name,
            path.read_bytes,
            licence="by consent",
            group=f"id_photos/{row['subject_id']}" if row else "",
            consent="" if why else f"{row['date']}: {row['scope']}",
            status=Status.NO_CONSENT if why else None,
            reason=why,
        )


def _consents(params: CollectParams) -> dict[str, dict[str, str]]:
    path = params.path / "consent.csv"
    if not path.is_file():
        raise SourceError(f"{path} is missing; it says who agreed: {','.join(COLUMNS)}")
    rows = {}
    for line, row in rows_of(path, COLUMNS):
        if not all(row[name].strip() for name in COLUMNS[:4]):
            raise SourceError(f"{path}, line {line}: every row needs {', '.join(COLUMNS[:4])}")
        if row["file"] in rows:
            raise SourceError(f"{path}, line {line}: {row['file']} stands twice")
        rows[row["file"]] = {name: value.strip() for name, value in row.items()}
    return rows


def _why_not(row: dict[str, str]) -> str:
    if not row:
        return "not in consent.csv"
    if row["consent"].lower() != "yes":
        return f"consent is {row['consent']!r}"
    return "" if row["minor"].lower() == "no" else f"minor is {row['minor']!r}; only pictures of adults are taken"
