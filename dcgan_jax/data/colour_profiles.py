"""Colours as their profile means them: in sRGB, which is what screens and other pictures take for granted."""

import io
from typing import Any, Literal

from PIL import Image, ImageCms

Profile = Literal["none", "converted", "unusable"]
_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab"}  # of profiles, by the mode that they describe


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, Profile]:
    """A picture of 8 bits in sRGB, grey or in colours and with its transparency, and what became of its profile.

    Grey pictures stay grey. One whose profile cannot be used is as if it had none.

    Args:
      image: in any mode of 8 bits.
      profile: the ICC profile of its file, if there is one.
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
    assert converted is not None  # it is changed in place only if that is asked for
    if colours.mode == "L":
        converted = converted.getchannel("G")
    if alpha:
        converted.putalpha(alpha)
    return converted, "converted"
