"""Score two directories by torch-fidelity; keep what its feature extractor was given.

    torch_fidelity_scores.py ONE TWO SEEN.npy

With an extractor of its own, so that nothing is downloaded. In a process of its own, as PyTorch does not bear other
libraries that were loaded before it. Prints the Frechet distance.
"""

import sys

import numpy as np
import torch
import torch_fidelity

seen = []


class Pixels(torch_fidelity.FeatureExtractorBase):
    """The pixels as features, of three colours."""

    def __init__(self, name, features_list, **options):
        super().__init__(name, features_list)

    @staticmethod
    def get_provided_features_list():
        return ("pixels",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "pixels"

    @staticmethod
    def can_be_compiled():
        return False

    @staticmethod
    def get_dummy_input_for_compile():
        raise NotImplementedError

    def forward(self, images):
        seen.extend(images.permute(0, 2, 3, 1).numpy())
        return (images.reshape(len(images), -1).to(torch.float32),)


torch_fidelity.register_feature_extractor("pixels", Pixels)
scores = torch_fidelity.calculate_metrics(
    input1=sys.argv[1],
    input2=sys.argv[2],
    feature_extractor="pixels",
    fid=True,
    cuda=False,
    cache=False,
    verbose=False,
    batch_size=4,
    save_cpu_ram=True,
)
np.save(sys.argv[3], seen)
print(scores["frechet_inception_distance"])
