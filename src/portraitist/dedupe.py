"""Which pictures are the same to the eye: near in their difference hash."""

from portraitist.clean import distance_bits


class Seen:
    """The hashes of pictures that were kept so far. A look-up reads all of them: a millisecond for 5,000."""

    def __init__(self, within_bits: int) -> None:
        self.within_bits = within_bits
        self.hashes: list[tuple[str, int]] = []

    def same_as(self, picture: str, hashed: int) -> str:
        """The id of the picture that this one repeats; of a new one an empty string, and it is kept in mind."""
        for other, theirs in self.hashes:
            if distance_bits(hashed, theirs) <= self.within_bits:
                return other
        self.hashes.append((picture, hashed))
        return ""
