"""Compare three training steps with Keras, in the double precision that JAX_ENABLE_X64 asks for."""

import test_keras

test_keras.compare_three_steps()
