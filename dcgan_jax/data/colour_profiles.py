"""Conversion of colours to sRGB by their ICC profile."""

import io
from typing import Any, Literal

from PIL import Image, ImageCms

Profile = Literal["none", "converted", "unusable"]
_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab"}  # colour space of a profile, by Pillow mode


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, Profile]:
    """Convert an 8-bit picture to sRGB, and return what was done with its profile.

    Grey pictures stay grey, and transparency is kept. An unusable profile is ignored.

    Args:
      image: in any 8-bit mode.
      profile: the ICC profile of its file, or None.
    """
    if not profile:
        return image, "none"
    if image.mode == "P":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    colours = image.convert(image.mode.removesuffix("A")) if alpha else image
    try:
        source: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = ImageCms.getProfileDescription(source).lower()
        if "srgb" in name and "linear" not in name:
            return image, "none"
        if source.profile.xcolor_space.strip() != _SPACES.get(colours.mode):
            return image, "unusable"
        srgb = ImageCms.createProfile("sRGB")
        intent = ImageCms.Intent(ImageCms.getDefaultIntent(source))
        converted = ImageCms.profileToProfile(colours, source, srgb, intent, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):  # damaged, or for another use than pictures
        return image, "unusable"
    assert converted is not None  # None only if it is converted in place
    if colours.mode == "L":
        converted = converted.getchannel("G")
    if alpha:
        converted.putalpha(alpha)
    return converted, "converted"
