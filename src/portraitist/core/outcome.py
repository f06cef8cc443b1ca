"""The status of a picture after a stage, or of a selfie in the product; the reason is a separate text."""

from enum import Enum


class Status(str, Enum):
    """What happened to a picture at a stage."""

    KEPT = "kept"
    UNREADABLE = "unreadable"
    NOT_A_PICTURE = "not_a_picture"
    ANIMATED = "animated"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    DUPLICATE = "duplicate"
    TOO_COSTLY = "too_costly"  # decoding exceeded the limits of memory or time, or crashed
    TOO_LONG = "too_long"  # aspect ratio
    BLANK = "blank"
    BLURRED = "blurred"
    BLOCKLISTED = "blocklisted"  # by data/blocklist.txt
    # stage collect: why a URL gave no picture
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
    SPLIT = "split"  # a collage, split into a selfie and a portrait that form a pair
    # stages crop and mask
    NO_FACE = "no_face"
    FACE_TOO_SMALL = "face_too_small"
    FACE_CUT_OFF = "face_cut_off"
    NO_PERSON = "no_person"
    NO_BACKGROUND = "no_background"
