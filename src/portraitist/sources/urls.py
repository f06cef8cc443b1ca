"""Addresses of the user's own: every *.csv in a folder, with the columns url and kind, and others if they are known."""

import csv
from collections.abc import Iterator
from pathlib import Path

from portraitist.manifest import KINDS
from portraitist.params import CollectParams
from portraitist.sources import Candidate, SourceError
from portraitist.spool import Spool

KNOWN = ["url", "kind", "name", "page_url", "licence", "licence_url", "author", "group"]


def candidates(params: CollectParams, ask: Spool) -> Iterator[Candidate]:
    """A candidate for each row.

    Raises:
        SourceError: There is no list, or one is malformed.
    """
    lists = sorted(params.path.glob("*.csv"))
    if not lists:
        raise SourceError(f"{params.path} holds no list; put a .csv with the columns url,kind there")
    for path in lists:
        yield from _rows(path)


def _rows(path: Path) -> Iterator[Candidate]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file, strict=True)
        columns = table.fieldnames or []
        if not {"url", "kind"} <= set(columns) <= set(KNOWN):
            raise SourceError(f"{path}: columns are {','.join(columns)}; url and kind are needed of {','.join(KNOWN)}")
        try:
            for row in table:
                if None in row or None in row.values():
                    raise SourceError(f"{path}, line {table.line_num}: {len(columns)} cells were expected")
                kind = next((known for known in KINDS if known == row["kind"]), None)
                if not kind or not row["url"].strip():
                    raise SourceError(f"{path}, line {table.line_num}: an url, and a kind of {', '.join(KINDS)}")
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
        except csv.Error as error:
            raise SourceError(f"{path}, line {table.line_num}: {error}") from None
