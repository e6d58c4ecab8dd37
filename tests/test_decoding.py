"""Files of pictures: turned as they are shown, with all their bits, colours and pages."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin, features

from dcgan_jax.data import DatasetError, load_data

pytestmark = pytest.mark.usefixtures("data_cache")
RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (12, 8), np.uint8)
COLOURS = RANDOM.integers(0, 256, (12, 8, 3), np.uint8)
ORIENTATION = 0x0112
TURNS = {  # what EXIF's orientation asks for
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
    8: lambda a: np.rot90(a),
}


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def png_of_16_bits(pixels, interlaced=False):
    """A PNG of uint16 [H, W, 1 to 4], which Pillow cannot write in colours."""
    height, width, channels = pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = [pixels[y::dy, x::dx] for x, y, dx, dy in passes] if interlaced else [pixels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for part in parts if part.size for row in part)

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(pixels, *, order="<", deflated=False, planes=False, **tags):
    """A TIFF of unsigned integers [H, W, C], which Pillow cannot write in colours of 16 bits."""
    height, width, channels = pixels.shape
    stored = pixels.transpose(2, 0, 1) if planes else pixels
    content = stored.astype(pixels.dtype.newbyteorder(order)).tobytes()
    parts = [content[i::1] for i in [0]] if not planes else np.array_split(np.frombuffer(content, np.uint8), channels)
    parts = [zlib.compress(bytes(part)) if deflated else bytes(part) for part in parts]
    bits = [8 * pixels.itemsize] * channels
    start = 8 + sum(map(len, parts))
    extra = struct.pack(f"{order}{channels}H", *bits)
    offsets = [8 + sum(map(len, parts[:i])) for i in range(len(parts))]
    lists = struct.pack(f"{order}{2 * len(parts)}I", *offsets, *map(len, parts))
    several, after = len(parts) > 1, start + len(extra)
    entries = {
        256: (3, 1, width),
        257: (3, 1, height),
        258: (3, channels, start) if channels > 2 else (3, 1, bits[0]),
        259: (3, 1, 8 if deflated else 1),
        262: (3, 1, tags.get("photometric", 2 if channels > 2 else 1)),
        273: (4, len(parts), after if several else offsets[0]),
        274: (3, 1, tags.get("orientation", 1)),
        277: (3, 1, channels),
        278: (3, 1, height),
        279: (4, len(parts), after + 4 * len(parts) if several else len(parts[0])),
        284: (3, 1, 2 if planes else 1),
    }
    if channels == 4:
        entries[338] = (3, 1, 2)
    directory = struct.pack(f"{order}H", len(entries))
    for tag, (kind, count, value) in sorted(entries.items()):
        inline = struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
        directory += struct.pack(f"{order}HHI", tag, kind, count) + inline
    mark = b"II" if order == "<" else b"MM"
    head = mark + struct.pack(f"{order}HI", 42, after + len(lists))
    return head + b"".join(parts) + extra + lists + directory + struct.pack(f"{order}I", 0)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(
    "kind", ["png", "webp", "tif", "tif deflated", "tif 16", "tif 16 deflated", "png 16", "tif grey 16"]
)
@pytest.mark.parametrize("size", [None, "own"])
def test_orientation_is_applied_once(orientation, kind, size, folder):
    """And nothing is cropped, whether the size is chosen or given."""
    suffix, pixels = kind.split()[0], COLOURS
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    if kind in ("png", "webp"):
        save(folder / f"a.{suffix}", pixels, exif=exif, **({"lossless": True} if kind == "webp" else {}))
    elif kind == "png 16":
        pixels = GREY[..., None]
        save(folder / "a.png", GREY.astype(np.uint16) * 257, exif=exif)
    else:
        pixels = GREY[..., None] if "grey" in kind else COLOURS
        deep = pixels.astype(np.uint16) * 257 if "16" in kind else pixels
        content = tiff(deep, deflated="deflated" in kind, orientation=orientation)
        (folder / "a.tif").write_bytes(content)
    expected = TURNS[orientation](pixels)
    dataset = load_data(folder, image_size=size and expected.shape[:2])
    np.testing.assert_array_equal(dataset.images, expected[None])
    assert not any("cropped" in note for note in dataset.notes)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflated", [False, True], ids=["raw", "deflated"])
@pytest.mark.parametrize("depth", [12, 16])
def test_tiff_in_colours_keeps_its_bits(orientation, channels, order, deflated, depth, folder):
    pixels = RANDOM.integers(0, 2**depth, (12, 8, channels), np.uint16)
    pixels[0, 0] = 2**depth - 1
    pixels[..., 3:] = 65535
    (folder / "a.tif").write_bytes(tiff(pixels, order=order, deflated=deflated, orientation=orientation))
    expected = np.rint(TURNS[orientation](pixels[..., :3]) * (255 / (2**depth - 1)))
    np.testing.assert_array_equal(load_data(folder).images[0], expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("interlaced", [False, True], ids=["plain", "interlaced"])
@pytest.mark.parametrize("depth", [12, 16])
def test_png_keeps_its_bits(channels, interlaced, depth, folder):
    pixels = RANDOM.integers(0, 2**depth, (12, 8, channels), np.uint16)
    pixels[0, 0] = 2**depth - 1
    if channels in (2, 4):
        pixels[..., -1] = 65535
    (folder / "a.png").write_bytes(png_of_16_bits(pixels, interlaced))
    colours = pixels[..., : 3 if channels > 2 else 1]
    expected = np.rint(colours * (255 / (2**depth - 1)))
    np.testing.assert_array_equal(load_data(folder).images[0], expected)


def test_transparency_of_16_bits_becomes_white(folder):
    pixels = np.zeros((12, 8, 4), np.uint16)
    pixels[:6, :, 3], pixels[:, :4, 0] = 65535, 65535
    (folder / "a.png").write_bytes(png_of_16_bits(pixels))
    (image,) = load_data(folder).images
    assert (image[6:] == 255).all()
    assert image[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("planes", [False, True], ids=["interleaved", "planes"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_planes_are_read_or_refused(planes, dtype, folder):
    """Pillow takes planes of 16 bits for others of 8."""
    pixels = COLOURS.astype(dtype) * np.array(257 if dtype == np.uint16 else 1, dtype)
    (folder / "a.tif").write_bytes(tiff(pixels, planes=planes))
    if planes and dtype == np.uint16:
        with pytest.raises(DatasetError, match="colours of 16 bits in planes"):
            load_data(folder)
    else:
        np.testing.assert_array_equal(load_data(folder).images[0], COLOURS)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_whose_0_is_white_is_turned(dtype, folder):
    pixels = GREY.astype(dtype) * np.array(257 if dtype == np.uint16 else 1, dtype)
    (folder / "a.tif").write_bytes(tiff(pixels[..., None], photometric=0))
    np.testing.assert_array_equal(load_data(folder).images[0, ..., 0], 255 - GREY)


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp", "png"])
def test_all_frames_are_taken_or_counted(suffix, folder):
    frames = [np.full((12, 8), 40 * i, np.uint8) for i in range(1, 6)]
    for name in ("a", "b"):
        first, *others = (Image.fromarray(each) for each in frames)
        options = {"lossless": True} if suffix == "webp" else {}
        first.save(folder / f"{name}.{suffix}", save_all=True, append_images=others, **options)
    save(folder / "single.png", GREY)
    dataset = load_data(folder)
    assert dataset.images[:, 0, 0, 0].tolist() == [40, 40, GREY[0, 0]]
    assert "left out 8 more pages or frames of 2 files: `frames=all` takes them" in dataset.notes
    dataset = load_data(folder, frames="all")
    assert dataset.images[:, 0, 0, 0].tolist() == [*range(40, 201, 40), *range(40, 201, 40), GREY[0, 0]]
    assert dataset.notes == ()


def test_pages_of_a_class_are_of_the_class(folder):
    for name in ("cat", "dog"):
        first, *others = (Image.fromarray(GREY) for _ in range(3))
        (folder / name).mkdir()
        first.save(folder / name / "a.tif", save_all=True, append_images=others)
    assert load_data(folder, frames="all").labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_smaller_copies_are_no_pages(folder):
    """As microscopes' files and pyramids have them."""
    first, small = Image.fromarray(GREY), Image.fromarray(GREY[::2, ::2])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(folder / "a.tif", save_all=True, append_images=[small], tiffinfo={254: 0})
    with Image.open(folder / "a.tif") as image:
        image.seek(1)
        copies = image.tag_v2.get(254)
    if copies != 1:
        pytest.skip("this Pillow writes the tags of the first page to all")
    assert load_data(folder, frames="all").images.shape == (1, 12, 8, 1)


def test_broken_page_leaves_out_its_file(folder):
    for i in range(11):
        first, *others = (Image.fromarray(np.full((8, 8), 20 * i + j, np.uint8)) for j in range(3))
        first.save(folder / f"{i:02}.tif", save_all=True, append_images=others, compression="tiff_adobe_deflate")
    content = bytearray((folder / "04.tif").read_bytes())
    start = content.rindex(b"x\x9c") if b"x\x9c" in content else content.rindex(b"\x78")
    content[start : start + 6] = b"\xff" * 6
    (folder / "04.tif").write_bytes(content)
    dataset = load_data(folder, frames="all")
    assert dataset.images[:, 0, 0, 0].tolist() == [20 * i + j for i in range(11) if i != 4 for j in range(3)]
    assert any(note.startswith("left out 1 picture that cannot be read: 04.tif") for note in dataset.notes)


@pytest.mark.parametrize("where", ["before", "after", "profile"])
def test_large_text_of_a_png_does_not_matter(where, folder):
    """As programs that generate pictures write their parameters."""
    note = PngImagePlugin.PngInfo()
    if where != "profile":
        note.add_text("parameters", "a" * 2**21, zip=True)
    profile = {"icc_profile": bytes(2**21)} if where == "profile" else {}
    if where == "after":
        note = PngImagePlugin.PngInfo()
        note.add(b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * 2**21), after_idat=True)
    save(folder / "a.png", COLOURS, pnginfo=note, **profile)
    np.testing.assert_array_equal(load_data(folder).images[0], COLOURS)


SUFFIXES = ["jfif", "jpe", "apng", "dib", "tga", "pbm", "pnm", "ico", "jp2", "avif", "", "0001"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_pillow_reads_is_read(suffix, folder):
    needed = {"avif": "avif", "jp2": "jpg_2000"}.get(suffix)
    if needed and needed not in features.get_supported():
        pytest.skip(f"this Pillow does not write .{suffix}")
    format = {"jfif": "JPEG", "jpe": "JPEG", "apng": "PNG", "pbm": "PPM", "pnm": "PPM", "jp2": "JPEG2000"}.get(suffix)
    format = format or {"": "PNG", "0001": "PNG"}.get(suffix, suffix.upper())
    pixels = np.repeat(np.linspace(0, 255, 16 * 16).reshape(16, 16, 1).astype(np.uint8), 3, -1)
    image = Image.fromarray(pixels)
    image = image.convert("1") if suffix == "pbm" else image
    name = f"a.{suffix}" if suffix else "a"
    image.save(folder / name, format, **({"sizes": [(16, 16)]} if suffix == "ico" else {}))
    save(folder / "b.png", pixels)
    images = load_data(folder).images.astype(int)
    assert len(images) == 2
    if suffix != "pbm":
        assert np.abs(images[0] - images[1]).max() <= 12  # of those that lose some


def test_files_without_a_suffix_need_be_no_pictures(folder):
    save(folder / "a.png", GREY)
    (folder / "LICENSE").write_text("to everybody")
    dataset = load_data(folder)
    assert dataset.notes == ("left out 1 file of another kind, 1 without a suffix",)


def test_what_is_left_out_is_said_by_kind(folder):
    for i in range(5):
        save(folder / f"{i}.jpg", GREY)
    for suffix, count in (("HEIC", 3), ("txt", 40)):
        for i in range(count):
            (folder / f"IMG_{i}.{suffix}").write_bytes(b"x")
    said = "left out 43 files of other kinds, 40 .txt, 3 .heic: save or unpack images as PNG or JPEG"
    assert load_data(folder).notes == (said,)
    for i in range(3, 7):
        (folder / f"IMG_{i}.heic").write_bytes(b"x")
    with pytest.raises(
        DatasetError, match="holds 7 .heic, which cannot be read as pictures, and 5 can: save or unpack them as PNG"
    ):
        load_data(folder)


def test_other_forms_of_a_picture_are_no_others(folder):
    """As a camera's, which writes both."""
    for i in range(5):
        save(folder / f"{i}.jpg", GREY)
        (folder / f"{i}.cr2").write_bytes(b"x")
    (folder / "clip.mp4").write_bytes(b"x")
    assert load_data(folder).notes == (
        "left out 6 files of other kinds, 5 .cr2, 1 .mp4: save or unpack images as PNG or JPEG",
    )


def test_range_is_of_the_deeper_pictures(folder):
    """Those of 8 bits beside them stay as they are."""
    save(folder / "a.png", GREY)
    save(folder / "b.png", GREY.astype(np.uint16) * 16)
    dataset = load_data(folder, range=(0, 4080))
    np.testing.assert_array_equal(dataset.images, np.stack([GREY, GREY])[..., None])


@pytest.mark.parametrize("highest", [1023, 4095])
def test_grey_map_says_its_white(highest, folder):
    """Which is not told from its pixels: here they have half of it."""
    values = np.rint(GREY / 255 * highest / 2).astype(">u2")
    (folder / "a.pgm").write_bytes(b"P5\n8 12\n%d\n" % highest + values.tobytes())
    dataset = load_data(folder)
    assert np.abs(dataset.images[0, ..., 0] - values / highest * 255).max() <= 0.51
    assert dataset.notes == ()
    values //= 8
    (folder / "a.pgm").write_bytes(b"P5\n8 12\n%d\n" % highest + values.tobytes())
    with pytest.raises(DatasetError, match="where 65,535 is white, nearly black: add `range=0,"):
        load_data(folder)


def test_bytes_with_a_sign_are_refused(folder):
    content = tiff(GREY[..., None])
    (folder / "a.tif").write_bytes(
        content.replace(struct.pack("<HHIHH", 284, 3, 1, 1, 0), struct.pack("<HHIHH", 339, 3, 1, 2, 0))
    )
    with pytest.raises(DatasetError, match="its bytes have a sign: save them without"):
        load_data(folder)


def test_transparent_colour_of_16_bits_is_white(folder):
    pixels = np.full((12, 8, 3), 257 * 40, np.uint16)
    pixels[:6] = 1000, 2000, 3000
    content = png_of_16_bits(pixels)
    chunk = b"tRNS" + struct.pack(">3H", 1000, 2000, 3000)
    chunk = struct.pack(">I", 6) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (folder / "a.png").write_bytes(content.replace(content[33:37] + b"IDAT", chunk + content[33:37] + b"IDAT"))
    (image,) = load_data(folder, range=(0, 65535)).images
    assert (image[:6] == 255).all()
    assert (image[6:] == 40).all()


def in_profile(colours, profile):
    """How the colours sRGB [H, W, 3] are stored in a space that is described by a profile."""
    srgb = ImageCms.createProfile("sRGB")
    return np.asarray(ImageCms.profileToProfile(Image.fromarray(colours), srgb, profile, outputMode="RGB"))


def wide_profile():
    """A colour space wider than sRGB, as cameras write: its primaries are further from white."""
    source = io.BytesIO(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    content = bytearray(source.getvalue())
    count = struct.unpack_from(">I", content, 128)[0]
    tags = {}
    for i in range(count):
        name, offset, length = struct.unpack_from(">4sII", content, 132 + 12 * i)
        tags[name] = offset, length
    # Display P3's, adapted to D50, in units of 1/65,536.
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for name, xyz in primaries.items():
        struct.pack_into(">3i", content, tags[name][0] + 8, *(round(65536 * value) for value in xyz))
    offset, length = tags[b"desc"]
    content[offset + 12 : offset + length] = content[offset + 12 : offset + length].replace(
        b"s\0R\0G\0B", b"w\0i\0d\0e"
    )
    return bytes(content)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_colours_are_those_of_their_profile(suffix, folder):
    """Photographs of phones are in Display P3, and those of cameras in Adobe RGB."""
    profile = wide_profile()
    colours = np.uint8(64 + RANDOM.integers(0, 128, (3, 2, 3)).repeat(8, 0).repeat(8, 1))
    stored = in_profile(colours, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    assert np.abs(stored.astype(int) - colours).max() > 5
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(suffix, {})
    save(folder / f"a.{suffix}", stored, icc_profile=profile, **options)
    dataset = load_data(folder)
    assert np.abs(dataset.images[0].astype(int) - colours).max() <= 3  # rounding, twice, and JPEG's
    assert "1 of 1 pictures converted to sRGB by their colour profile" in dataset.notes


@pytest.mark.parametrize("kind", ["srgb", "damaged", "other"])
def test_profile_that_says_nothing_changes_nothing(kind, folder):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    profile = {"srgb": srgb, "damaged": srgb[:200], "other": lab}[kind]
    save(folder / "a.png", COLOURS, icc_profile=profile)
    dataset = load_data(folder)
    np.testing.assert_array_equal(dataset.images[0], COLOURS)
    said = () if kind == "srgb" else ("1 of 1 pictures have a colour profile that cannot be used",)
    assert dataset.notes == said


def test_lab_is_in_colours(folder):
    colours = Image.fromarray(np.uint8(64 + COLOURS // 2))
    spaces = [ImageCms.createProfile(space) for space in ("sRGB", "LAB")]
    lab = ImageCms.profileToProfile(colours, *spaces, outputMode="LAB")
    lab.info.pop("icc_profile", None)
    lab.save(folder / "a.tif")
    dataset = load_data(folder)
    assert dataset.images.shape == (1, 12, 8, 3)
    assert dataset.notes == ()
    assert np.abs(dataset.images[0].astype(int) - np.asarray(colours)).max() <= 6
