"""Arrays by dtype and axes, for signatures: nothing is checked when a function is called.

An axis that two arguments share has the same length in both; one named ``_`` has any. The tests check them in each
call. JAX's tracers are such arrays too.
"""

from jaxtyping import Array, Float, Integer, UInt8, UInt32
from jaxtyping import Key as TypedKey

Images = Float[Array, "B H W C"]  # in [0, 1]
RealImages = Float[Array, "B H W C"] | UInt8[Array, "B H W C"]  # in [0, 1], or bytes
Noise = Float[Array, "B latent"]
NoiseVector = Float[Array, "latent"]
Labels = Integer[Array, "B"]  # the class of each image
Logits = Float[Array, "B 1"]  # above 0 where an image looks real
FakeLogits = Float[Array, "B_fake 1"]  # of fakes that need not be as many as the real images
Scalar = Float[Array, ""]
Key = TypedKey[Array, ""] | UInt32[Array, "words"]  # a typed PRNG key, or one of the old kind
Maps = Float[Array, "B H W C_in"]
NewMaps = Float[Array, "B _ _ C_out"]
Kernel = Float[Array, "k k C_in C_out"]
