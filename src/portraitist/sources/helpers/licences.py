"""Open licences, by the short names that params.yaml uses."""

import re
from collections.abc import Collection

from portraitist.core.outcome import Status

PAGES = {
    "cc0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "pdm": "https://creativecommons.org/publicdomain/mark/1.0/",
    "by": "https://creativecommons.org/licenses/by/2.0/",  # Flickr, which uses these names, has version 2.0 only
    "by-sa": "https://creativecommons.org/licenses/by-sa/2.0/",
}


def licence_family(name: str) -> str:
    """Return "cc0", "pdm", "by" or "by-sa" for the usual spellings of these licences; "" for any other."""
    name = re.sub(r"[\s_]+", "-", name.strip().lower())
    if name in ("pd", "pdm", "public-domain") or name.startswith(("pd-", "pdm-")):
        return "pdm"
    name = name.removeprefix("cc-")
    if re.match(r"(cc0|zero)\b", name):
        return "cc0"
    terms = re.match(r"by((-(nc|nd|sa))*)(-\d|$)", name)
    return {"": "by", "-sa": "by-sa"}.get(terms[1], "") if terms else ""


def check_licence(name: str, allowed: Collection[str]) -> tuple[Status | None, str]:
    """Return the status and reason that reject a licence; (None, "") if its family is one of `allowed`."""
    if licence_family(name) in allowed:
        return None, ""
    return Status.NO_LICENCE, f"licence is {name or 'missing'}; allowed licences: {', '.join(allowed)}"
