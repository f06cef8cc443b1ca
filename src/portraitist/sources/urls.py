"""Pictures at URLs that the user lists: every *.csv in a folder, with the columns url, kind and optional metadata."""

from collections.abc import Iterator

from portraitist.collect.candidate import Candidate, SourceError
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import CollectParams
from portraitist.core.manifest import KINDS
from portraitist.sources.helpers.saved_pages import read_csv

REQUIRED = ["url", "kind"]
OPTIONAL = ["name", "page_url", "licence", "licence_url", "author", "group"]


def candidates(params: CollectParams, cache: FetchCache) -> Iterator[Candidate]:
    """Yield a candidate for each row of the CSV files.

    Raises:
        SourceError: there is no CSV file, or a CSV file is malformed.
    """
    lists = sorted(params.path.glob("*.csv"))
    if not lists:
        found = f"found no .csv file in {params.path}" if params.path.is_dir() else f"{params.path} is not a folder"
        raise SourceError(f"collect.urls.path: {found}; put a .csv file with the columns url,kind there")
    for path in lists:
        for line, row in read_csv(path, REQUIRED, OPTIONAL):
            kind = next((known for known in KINDS if known == row["kind"]), None)
            if not row["url"].strip():
                raise SourceError(f"{path}, line {line}: url is empty; enter a URL, or delete the line")
            if not kind:
                raise SourceError(f"{path}, line {line}: kind is {row['kind']!r}; allowed: {', '.join(KINDS)}")
            yield Candidate(
                kind,
                row.get("name", ""),
                url=row["url"].strip(),
                page_url=row.get("page_url", ""),
                licence=row.get("licence", ""),
                licence_url=row.get("licence_url", ""),
                author=row.get("author", ""),
                group=row.get("group", ""),
            )
