"""Open licences, by the few names that params know."""

import re
from collections.abc import Collection

from portraitist.core.outcome import Status

PAGES = {
    "cc0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "pdm": "https://creativecommons.org/publicdomain/mark/1.0/",
    "by": "https://creativecommons.org/licenses/by/2.0/",  # of Flickr, which knows this version only
    "by-sa": "https://creativecommons.org/licenses/by-sa/2.0/",
}


def family(told: str) -> str:
    """cc0, pdm, by or by-sa, of a licence's name in any of the usual spellings; "" of any other."""
    name = re.sub(r"[\s_]+", "-", told.strip().lower())
    if name in ("pd", "pdm", "public-domain") or name.startswith(("pd-", "pdm-")):
        return "pdm"
    name = name.removeprefix("cc-")
    if re.match(r"(cc0|zero)\b", name):
        return "cc0"
    terms = re.match(r"by((-(nc|nd|sa))*)(-\d|$)", name)
    return {"": "by", "-sa": "by-sa"}.get(terms[1], "") if terms else ""


def refused(told: str, taken: Collection[str]) -> tuple[Status | None, str]:
    """The status over a picture under this licence, and the reason; (None, "") if it is one of those taken."""
    if family(told) in taken:
        return None, ""
    return Status.NO_LICENCE, f"{told or 'no licence'}; taken are {', '.join(taken)}"
