"""The status of a picture: what a stage, the command line, the server or the Python API found when processing it."""

from enum import Enum


class Status(str, Enum):
    """Whether a stage kept a picture or, if not, why. The column `reason` of a manifest gives details as text."""

    KEPT = "kept"
    UNREADABLE = "unreadable"
    NOT_A_PICTURE = "not_a_picture"
    ANIMATED = "animated"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    DUPLICATE = "duplicate"
    TOO_COSTLY = "too_costly"  # decoding would exceed or did exceed a limit of memory or time, or it crashed
    TOO_LONG = "too_long"  # the aspect ratio is too large
    BLANK = "blank"
    BLURRED = "blurred"
    BLOCKLISTED = "blocklisted"  # an entry of data/blocklist.txt matches
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
    SPLIT = "split"  # a collage, replaced by a selfie and a portrait of the same person, cut from it
    # stages crop and mask
    NO_FACE = "no_face"
    FACE_TOO_SMALL = "face_too_small"
    FACE_CUT_OFF = "face_cut_off"
    NO_PERSON = "no_person"
    NO_BACKGROUND = "no_background"
