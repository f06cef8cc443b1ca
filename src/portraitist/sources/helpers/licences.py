"""Open licences, with the short names that params.yaml uses: cc0, pdm, by and by-sa."""

import re
from collections.abc import Collection

from portraitist.core.outcome import Status

PAGES = {
    "cc0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "pdm": "https://creativecommons.org/publicdomain/mark/1.0/",
    "by": "https://creativecommons.org/licenses/by/2.0/",  # only used for Flickr, whose licences are of version 2.0
    "by-sa": "https://creativecommons.org/licenses/by-sa/2.0/",
}


def licence_family(name: str) -> str:
    """Return "cc0", "pdm", "by" or "by-sa" for any usual spelling of that licence; "" for any other licence."""
    name = re.sub(r"[\s_]+", "-", name.strip().lower())
    if name in ("pd", "pdm", "public-domain") or name.startswith(("pd-", "pdm-")):
        return "pdm"
    name = name.removeprefix("cc-")
    if re.match(r"(cc0|zero)\b", name):
        return "cc0"
    terms = re.match(r"by((-(nc|nd|sa))*)(-\d|$)", name)
    return {"": "by", "-sa": "by-sa"}.get(terms[1], "") if terms else ""


def check_licence(name: str, allowed: Collection[str]) -> tuple[Status | None, str]:
    """Return the status and the reason with which a picture is rejected; (None, "") if its licence is allowed.

    Args:
        name: the licence in any usual spelling.
        allowed: short names, such as "by-sa".
    """
    if licence_family(name) in allowed:
        return None, ""
    return Status.NO_LICENCE, f"licence is {name or 'missing'}; allowed licences: {', '.join(allowed)}"
