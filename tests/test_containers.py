"""Each row of the table of containers in docs/data.md: its command reads what the form's own library writes."""

import re
import shlex

import numpy as np
import pytest
from containers import GREY, IMAGES, LABELS, WRITERS, in_order, write
from helpers import ROOT

from dcgan_jax.data import Dataset, load_data

pytestmark = pytest.mark.usefixtures("data_cache")
SECTION = (ROOT / "docs" / "data.md").read_text(encoding="utf-8").split("## Containers\n")[1].split("\n## ")[0]
COMMANDS = re.findall(r"^\|[^|]*\| `dcgan-jax train --dataset ([^`]*)`", SECTION, re.MULTILINE)


def test_each_row_has_a_file_and_each_file_a_row():
    assert [shlex.split(command)[0] for command in COMMANDS] == list(WRITERS)
    assert len(COMMANDS) == len(re.findall(r"^\| (?!container)", SECTION, re.MULTILINE))


@pytest.mark.parametrize("name", WRITERS)
def test_row_of_the_table_is_read(name, tmp_path):
    dataset = load_data(write(name, tmp_path))
    grey = dataset.images.shape[-1] == 1
    labels = None if name in ("images.npy", "church_outdoor_train_lmdb") else LABELS
    for found, expected in zip(in_order(dataset), in_order(Dataset(GREY if grey else IMAGES, labels)), strict=True):
        np.testing.assert_array_equal(found, expected)
