"""Identification photos of persons who gave their consent, from a folder of the user.

The folder contains the pictures and `consent.csv`, which has one row per picture:

file,subject_id,consent,date,scope,minor
0001.jpg,p17,yes,2026-05-04,training of avatar models,no
"""

from collections.abc import Iterator

from portraitist.collect.candidate import Candidate, SourceError
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import CollectParams
from portraitist.core.outcome import Status
from portraitist.sources import FORMATS, find_pictures, normalized
from portraitist.sources.helpers.saved_pages import read_csv

KEY = "collect.id_photos.path"
CONSENTS = "consent.csv"
COLUMNS = ["file", "subject_id", "consent", "date", "scope", "minor"]
NON_EMPTY = COLUMNS[:4]


def candidates(params: CollectParams, cache: FetchCache) -> Iterator[Candidate]:
    """Yield every file in the folder; a file that must not be used has a status and a reason.

    Photos without consent, photos of minors, and files that are not pictures must not be used.

    Raises:
        SourceError: the folder or consent.csv is missing, or consent.csv is malformed or lists a missing file.
    """
    pictures = find_pictures(params.path, KEY, f"your photos ({FORMATS}) and {CONSENTS}")
    files = {normalized(file.name): file for file in pictures if file.name != CONSENTS}
    consents = _read_consents(params)
    missing = sorted(set(consents) - set(files))
    if missing:
        raise SourceError(
            f"{CONSENTS} lists {missing[0]}, which is not in {params.path}; add the file, or delete its row"
        )
    for name, file in files.items():
        row = consents.get(name, {})
        rejection = _rejection_reason(row)
        yield Candidate(
            "selfies",
            name,
            file.path.read_bytes,
            licence="by consent",
            group=f"id_photos/{row['subject_id']}" if row else "",
            consent="" if rejection else f"{row['date']}: {row['scope']}",
            status=Status.NO_CONSENT if rejection else file.status,
            reason=rejection or file.reason,
        )


def _read_consents(params: CollectParams) -> dict[str, dict[str, str]]:
    path = params.path / CONSENTS
    if not path.is_file():
        raise SourceError(f"{path} is missing; create it with one row per picture and the columns {','.join(COLUMNS)}")
    rows: dict[str, dict[str, str]] = {}
    for line, row in read_csv(path, COLUMNS):
        if not all(row[name].strip() for name in NON_EMPTY):
            raise SourceError(f"{path}, line {line}: empty cell; {', '.join(NON_EMPTY)} must have values")
        file = normalized(row["file"])
        if file in rows:
            raise SourceError(f"{path}, line {line}: {file} is listed twice; delete one of the rows")
        rows[file] = {name: value.strip() for name, value in row.items()}
    return rows


def _rejection_reason(row: dict[str, str]) -> str:
    """Return why a photo must not be used, given its row of consent.csv; "" if it may be used."""
    if not row:
        return f"the photo is not listed in {CONSENTS}"
    if row["consent"].lower() != "yes":
        return f"consent is {row['consent']!r}, not 'yes'"
    return "" if row["minor"].lower() == "no" else f"minor is {row['minor']!r}, not 'no'; only adults are allowed"
