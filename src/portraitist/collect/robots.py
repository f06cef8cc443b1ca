"""What a site's robots.txt allows, by RFC 9309: our group or that of all, the longest rule that fits, `*` and `$`.

The standard library's parser knows no wildcards and takes the first rule that fits.
"""

from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Rules:
    """Which paths a program may ask for, and how often: (pattern, whether it is allowed), and seconds between two."""

    patterns: tuple[tuple[str, bool], ...] = ()
    delay_s: float = 0.0

    @classmethod
    def of(cls, text: str, agent: str) -> "Rules":
        """The rules that a robots.txt has for this agent; for all if it does not name it."""
        patterns: dict[str, list[tuple[str, bool]]] = {}  # of us and of all; a file may name thousands of others
        delays: dict[str, float] = {}
        named: set[str] = set()
        in_head = False
        for line in text.splitlines():
            key, colon, value = line.partition("#")[0].partition(":")
            key, value = key.strip().lower(), value.strip()
            if not colon:
                continue
            if key == "user-agent":
                named = (named if in_head else set()) | ({value.lower()} & {agent.lower(), "*"})
                in_head = True
                for name in named:
                    patterns.setdefault(name, [])
                continue
            in_head = False if key in ("allow", "disallow", "crawl-delay") else in_head
            for name in named:
                if key in ("allow", "disallow") and value:
                    patterns[name].append((_quoted(value), key == "allow"))
                if key == "crawl-delay" and value.replace(".", "", 1).isdecimal():
                    delays[name] = float(value)
        group = agent.lower() if agent.lower() in patterns else "*"
        return cls(tuple(patterns.get(group, ())), delays.get(group, 0.0))

    def allow(self, path: str) -> bool:
        """Whether this path, with its query, may be asked for."""
        path = _quoted(path)
        fitting = [(len(pattern), allowed) for pattern, allowed in self.patterns if _fits(pattern, path)]
        return max(fitting)[1] if fitting else True


NONE = Rules()
ALL_FORBIDDEN = Rules((("/", False),))


def _fits(pattern: str, path: str) -> bool:
    """Whether a pattern fits the path's beginning. Without regular expressions, which a site could make endless."""
    to_end = pattern.endswith("$")
    first, *others = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    at = len(first)
    for index, part in enumerate(others):
        if to_end and index == len(others) - 1:
            return path.endswith(part) and len(path) - len(part) >= at
        found = path.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return not to_end or at == len(path)


def _quoted(path: str) -> str:
    return quote(path, safe="/%:;=&?~+!$,'@()*[]|")
