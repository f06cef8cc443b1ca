"""Check and repair the segments of JPEG files and the chunks of PNG files, before Pillow decodes the files.

The time of every function is linear in the size of the file; the memory is a small multiple of that size.
"""

import re
import struct
import zlib
from dataclasses import dataclass

MAX_SCANS = 100  # also the limit of libtiff; usual files have about 10; each scan is a pass over the whole picture
MAX_SEGMENTS = 200_000  # Pillow needs some microseconds for each
MAX_FILL_BYTES = 1_000_000  # between segments; Pillow reads them one by one
MAX_TEXT_BYTES = 1_000_000  # of a decompressed text chunk of a PNG file; Pillow rejects files with more than 2**20
SOI, EOI, SOS = 0xD8, 0xD9, 0xDA  # JPEG markers: start of the image, end of the image, start of a scan
MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")  # without restart markers (D0 to D7), stuffed bytes and fill bytes
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
ADVICE = "open the picture in an image editor and save it again"
ORIENTATION_KEYWORDS = (b"XML:com.adobe.xmp", b"Raw profile type exif")  # text chunks with the picture's orientation


class ContainerError(ValueError):
    """A file exceeds a limit of this module, so decoding it would take too long."""


@dataclass(frozen=True)
class JpegStructure:
    """The structure of a JPEG file, or of its first picture if the file contains several (MPO)."""

    scans: int  # number of scans
    ends_in_scan: bool  # True if the file ends within the data of a scan, so that at least the end marker is missing


def read_jpeg_structure(data: bytes) -> JpegStructure:
    """Read the markers of a JPEG file up to its end marker (ITU-T T.81, annex B).

    Raises:
        ContainerError: there are too many scans, segments or fill bytes.
    """
    scans = segments = fill_bytes = 0
    in_scan, position = False, 2
    while match := MARKER.search(data, position):
        if not in_scan:
            fill_bytes += match.start() - position
        marker, position = data[match.start() + 1], match.end()
        if marker == EOI:
            return JpegStructure(scans, ends_in_scan=False)
        if marker != SOI:
            position += max(2, int.from_bytes(data[position : position + 2], "big"))
        in_scan = marker == SOS
        scans += in_scan
        segments += 1
        for found, allowed, what in (
            (scans, MAX_SCANS, "scans"),
            (segments, MAX_SEGMENTS, "segments"),
            (fill_bytes, MAX_FILL_BYTES, "fill bytes between segments"),
        ):
            if found > allowed:
                raise ContainerError(f"the JPEG file has too many {what}; at most {allowed} are allowed; {ADVICE}")
    if not in_scan and len(data) - position > MAX_FILL_BYTES:
        raise ContainerError(
            f"the JPEG file has too many fill bytes between segments; at most {MAX_FILL_BYTES} are allowed; {ADVICE}"
        )
    return JpegStructure(scans, in_scan and position <= len(data))


def complete_jpeg(data: bytes) -> tuple[bytes, bytes]:
    """Return two complete versions of a JPEG file that ends within a scan. The caller decodes and compares them.

    The comparison shows whether only the end marker is missing, or also picture data. Pillow itself does not report
    missing picture data before an end marker.

    Each version is a copy of the file, followed by some bytes and an end marker. These bytes differ between the two
    copies. If no picture data is missing, a decoder ignores the bytes, and both copies decode to the same picture. If
    picture data is missing, a decoder reads the bytes as picture data, and the copies decode to different pictures.
    """
    data = data.rstrip(b"\xff")  # may be the first byte of an incomplete end marker
    last = max(data.rfind(bytes((0xFF, 0xD0 + number))) for number in range(8))
    restart = bytes((0xFF, 0xD0 if last < 0 else 0xD0 + (data[last + 1] + 1) % 8))  # the next restart marker
    end = bytes((0xFF, EOI))
    first = bytes(range(0x20, 0x30))
    second = bytes(range(0xD0, 0xC0, -1)) + restart + bytes(range(0x60, 0x70))
    return data + first + end, data + second + end


def strip_png_text(data: bytes) -> bytes:
    """Remove the text chunks of a PNG file, except short ones that may contain the picture's orientation.

    Pillow rejects files with long text, and only a global variable can change its limit.

    Raises:
        ContainerError: there are too many chunks.
    """
    parts, start, position, chunks = [], 0, len(PNG_SIGNATURE), 0
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if name == b"IEND" or end > len(data):
            break
        chunks += 1
        if chunks > MAX_SEGMENTS:
            raise ContainerError(f"the PNG file has too many chunks; at most {MAX_SEGMENTS} are allowed; {ADVICE}")
        if name in TEXT_CHUNKS and not _may_hold_orientation(name, data[position + 8 : end - 4]):
            parts.append(data[start:position])
            start = end
        position = end
    return b"".join([*parts, data[start:]])


def _may_hold_orientation(name: bytes, body: bytes) -> bool:
    keyword, _, rest = body.partition(b"\0")
    if keyword not in ORIENTATION_KEYWORDS or len(body) > MAX_TEXT_BYTES:
        return False
    if name == b"zTXt":
        compressed = rest[1:]
    elif name == b"iTXt" and rest[:1] not in (b"", b"\0"):
        compressed = rest[2:].split(b"\0", 2)[-1]
    else:
        return True
    try:
        return len(zlib.decompressobj().decompress(compressed, MAX_TEXT_BYTES + 1)) <= MAX_TEXT_BYTES
    except zlib.error:
        return False
