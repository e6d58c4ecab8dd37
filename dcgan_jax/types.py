"""Array types with dtype and axes, for signatures: they are not checked at run time.

An axis that two arguments share has the same length in both; ``_`` stands for any length. The tests check them in each
call. JAX's tracers match these types too.
"""

from jaxtyping import Array, Float, Integer, UInt8, UInt32
from jaxtyping import Key as TypedKey

Images = Float[Array, "B H W C"]  # in [0, 1]
RealImages = Float[Array, "B H W C"] | UInt8[Array, "B H W C"]  # in [0, 1], or bytes
Noise = Float[Array, "B latent"]
NoiseVector = Float[Array, "latent"]
Labels = Integer[Array, "B"]  # the class of each image
Logits = Float[Array, "B 1"]  # above 0 where an image looks real
FakeLogits = Float[Array, "B_fake 1"]  # there may be more or fewer fakes than real images
Scalar = Float[Array, ""]
Key = TypedKey[Array, ""] | UInt32[Array, "words"]  # a typed PRNG key, or a legacy one
Maps = Float[Array, "B H W C_in"]
NewMaps = Float[Array, "B _ _ C_out"]
Kernel = Float[Array, "k k C_in C_out"]
