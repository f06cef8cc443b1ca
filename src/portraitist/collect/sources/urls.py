"""Addresses of the user's own: every *.csv in a folder, with the columns url and kind, and others if they are known."""

from collections.abc import Iterator

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import CollectParams
from portraitist.collect.sources import Candidate, SourceError
from portraitist.collect.sources._saved_pages import rows_of
from portraitist.core.manifest import KINDS

NEEDED = ["url", "kind"]
MORE = ["name", "page_url", "licence", "licence_url", "author", "group"]


def candidates(params: CollectParams, ask: FetchCache) -> Iterator[Candidate]:
    """A candidate for each row.

    Raises:
        SourceError: There is no list, or one is malformed.
    """
    lists = sorted(params.path.glob("*.csv"))
    if not lists:
        raise SourceError(f"{params.path} holds no list; put a .csv with the columns url,kind there")
    for path in lists:
        for line, row in rows_of(path, NEEDED, MORE):
            kind = next((known for known in KINDS if known == row["kind"]), None)
            if not kind or not row["url"].strip():
                raise SourceError(f"{path}, line {line}: an url, and a kind of {', '.join(KINDS)}")
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
