"""The rules of a robots.txt file (RFC 9309), parsed by Protego.

This module adds two properties, because robots.txt comes from an untrusted server: the cost of parsing is linear in the
size of the file, and a byte-order mark does not hide the first group.
"""

import re
from dataclasses import dataclass

from protego import Protego

USER_AGENT = re.compile(r"\s*user(?:-|\s+)?agent(?:\s*:|\s)(.*)", re.IGNORECASE)  # all the forms that Protego accepts
CRAWL_DELAY = re.compile(r"\s*crawl(?:-|\s+)delay(?:\s*:|\s)", re.IGNORECASE)
HUGE_NUMBER = re.compile(r"\d{10,}")
OTHER_AGENT = "?"  # occurs in no product token


@dataclass(frozen=True)
class Rules:
    """The rules that apply to one user agent.

    Args:
        parser: the parsed file, in which all other user agents have the same name.
        agent: the user agent's product token.
        http_status: the status code of the response, if it was a failure of the server.
    """

    parser: Protego
    agent: str
    http_status: int | None = None

    @classmethod
    def parse(cls, text: str, agent: str) -> "Rules":
        """Parse a robots.txt file for this user agent; groups for `*` apply if no group names it."""
        lines = (_simplify(line, agent) for line in text.removeprefix("\ufeff").splitlines())
        return cls(Protego.parse("\n".join(lines)), agent)

    def can_fetch(self, url: str) -> bool:
        """Return whether the user agent may request this URL."""
        return self.parser.can_fetch(url, self.agent)

    @property
    def crawl_delay_s(self) -> float:
        """The required seconds between two requests; 0 if the file sets no valid value."""
        return self.parser.crawl_delay(self.agent) or 0.0


def _simplify(line: str, agent: str) -> str:
    """Rewrite a line that Protego would process slowly or ignore.

    Protego stores each rule once per user agent of its group: a file of 30 kB with 900 agents and 1500 rules takes
    seconds and 200 MB. Therefore, all other agents are given the same name. Protego also ignores a crawl delay that
    overflows a float; it is replaced by the largest ten-digit number.
    """
    line = line.partition("#")[0]
    user_agent = USER_AGENT.match(line)
    if user_agent:
        name = user_agent[1].strip().lower()
        return f"User-agent: {name if name in ('*', agent.lower()) else OTHER_AGENT}"
    return HUGE_NUMBER.sub("9999999999", line) if CRAWL_DELAY.match(line) else line


ALLOW_ALL = Rules.parse("", "*")
DISALLOW_ALL = Rules.parse("User-agent: *\nDisallow: /", "*")
