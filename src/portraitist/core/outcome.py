"""What became of a picture at a stage, in one word: of a row in a manifest, or of a selfie that cannot be painted."""

from enum import Enum


class Status(str, Enum):
    """What became of a picture at a stage."""

    KEPT = "kept"
    UNREADABLE = "unreadable"
    NOT_A_PICTURE = "not_a_picture"
    ANIMATED = "animated"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    DUPLICATE = "duplicate"
    TOO_COSTLY = "too_costly"  # its reader took more memory or time than allowed, or broke
    TOO_LONG = "too_long"  # one side many times the other
    BLANK = "blank"
    BLURRED = "blurred"
    BLOCKLISTED = "blocklisted"  # data/blocklist.txt names it
    # of collect: what an address gave in place of a picture
    REFUSED_SCHEME = "refused_scheme"
    REFUSED_ADDRESS = "refused_address"
    TOO_MANY_REDIRECTS = "too_many_redirects"
    ROBOTS_DENIED = "robots_denied"
    OPTED_OUT = "opted_out"
    THROTTLED = "throttled"
    HTTP_ERROR = "http_error"
    NETWORK_ERROR = "network_error"
    TOO_SLOW = "too_slow"
    ENCODED = "encoded"
    CUT_OFF = "cut_off"
    NO_LICENCE = "no_licence"
    NO_CONSENT = "no_consent"
    SPLIT = "split"  # into a selfie and a portrait that are a pair
    # of crop and mask
    NO_FACE = "no_face"
    FACE_TOO_SMALL = "face_too_small"
    FACE_CUT_OFF = "face_cut_off"
    NO_PERSON = "no_person"
    NO_BACKGROUND = "no_background"
