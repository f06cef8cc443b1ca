from portraitist.dedupe import Seen


def test_a_near_hash_names_the_picture_that_it_repeats_and_is_not_kept_in_mind():
    seen = Seen(within_bits=2)
    assert seen.same_as("a", 0b000000) == ""
    assert seen.same_as("b", 0b000011) == "a"
    assert seen.same_as("c", 0b000111) == ""  # three bits from a; b, two from both, is gone
    assert seen.same_as("d", 0b011111) == "c"


def test_with_no_bits_only_the_very_same_hash_repeats():
    seen = Seen(within_bits=0)
    assert [seen.same_as("a", 5), seen.same_as("b", 4), seen.same_as("c", 5)] == ["", "", "a"]
