"""Stage augment: choose the backgrounds for training, and place the test selfies on eight test backgrounds."""

from functools import partial

from pipeline.stage import load_or_exit, path_options
from portraitist.augment.make_library import StageFolders
from portraitist.augment.params import AugmentParams
from portraitist.augment.run import augment
from portraitist.core.files import write_file
from portraitist.core.image_io import encode_jpeg
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskParams
from portraitist.mask.segmenter import Segmenter, segment_person
from portraitist.reporting.contact_sheet import contact_sheet


def main() -> None:
    """Write the outputs that `augment` describes, and a contact sheet."""
    names = ("clean", "crops", "masks", "split", "pretrained", "augmented", "sheet")
    *folders, pretrained, augmented, sheet = path_options(*names)
    params, crop_params = load_or_exit(AugmentParams, "augment"), load_or_exit(CropParams, "crop")
    segmenter = Segmenter(pretrained, load_or_exit(MaskParams, "mask").model)
    segment = partial(segment_person, segmenter=segmenter, crop_params=crop_params)
    rows = augment(params, crop_params.size_px, segment, StageFolders(*folders), augmented)
    write_file(sheet, encode_jpeg(contact_sheet(rows)) if rows else b"")


if __name__ == "__main__":
    main()
