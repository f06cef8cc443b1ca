"""The rules of a robots.txt file (RFC 9309), parsed by Protego.

A robots.txt comes from an untrusted server. This module therefore simplifies the file before Protego parses it, so that
the time is linear in the size of the file, and a byte-order mark does not hide the first group of rules.
"""

import re
from dataclasses import dataclass

from protego import Protego

USER_AGENT = re.compile(r"\s*user(?:-|\s+)?agent(?:\s*:|\s)(.*)", re.IGNORECASE)  # all forms that Protego accepts
CRAWL_DELAY = re.compile(r"\s*crawl(?:-|\s+)delay(?:\s*:|\s)", re.IGNORECASE)
HUGE_NUMBER = re.compile(r"\d{10,}")
OTHER_AGENT = "?"  # a name that no user agent can have


@dataclass(frozen=True)
class Rules:
    """The rules that apply to one user agent.

    Args:
        parser: the rules, as Protego parsed them. In the parsed file, every user agent except `agent` and `*` was
            renamed to `OTHER_AGENT`.
        agent: name of the user agent to which the rules apply (its product token).
        http_status: status code of the response if the server failed to send the file.
    """

    parser: Protego
    agent: str
    http_status: int | None = None

    @classmethod
    def parse(cls, text: str, agent: str) -> "Rules":
        """Parse a robots.txt file for one user agent; if no group names the agent, the groups for `*` apply."""
        lines = (_simplify(line, agent) for line in text.removeprefix("\ufeff").splitlines())
        return cls(Protego.parse("\n".join(lines)), agent)

    def can_fetch(self, url: str) -> bool:
        """Return whether the user agent may request this URL."""
        return self.parser.can_fetch(url, self.agent)

    @property
    def crawl_delay_s(self) -> float:
        """The required interval between two requests, in seconds; 0 if the file sets no valid value."""
        return self.parser.crawl_delay(self.agent) or 0.0


def _simplify(line: str, agent: str) -> str:
    """Rewrite a line that Protego would process slowly or ignore.

    Protego stores each rule once per user agent of its group. A file of 30 kB with 900 agents and 1500 rules would take
    seconds and 200 MB of memory. All agents other than `agent` are therefore given the same name. Protego also
    ignores a crawl delay that overflows a float; such a delay is replaced by the largest number of ten digits.
    """
    line = line.partition("#")[0]
    user_agent = USER_AGENT.match(line)
    if user_agent:
        name = user_agent[1].strip().lower()
        return f"User-agent: {name if name in ('*', agent.lower()) else OTHER_AGENT}"
    return HUGE_NUMBER.sub("9999999999", line) if CRAWL_DELAY.match(line) else line


ALLOW_ALL = Rules.parse("", "*")
DISALLOW_ALL = Rules.parse("User-agent: *\nDisallow: /", "*")
