"""The tutorial's two models in Keras 3."""

import keras

# In a process of its own: what the user's keras.json says is no part of the tutorial.
keras.config.set_floatx("float32")
keras.config.set_dtype_policy("float32")
keras.config.set_image_data_format("channels_last")
keras.config.set_epsilon(1e-7)


def keras_model(network: str) -> keras.Sequential:
    """The tutorial's ``generator`` or ``discriminator``, untrained."""
    layers = keras.layers
    if network == "discriminator":
        model = keras.Sequential([keras.Input((28, 28, 1))])
        for features, strides in ((64, 2), (128, 2), (256, 2), (512, 1)):
            model.add(layers.Conv2D(features, 5, strides=strides, padding="same"))
            model.add(layers.LeakyReLU(negative_slope=0.2))
            model.add(layers.Dropout(0.4))
        for layer in (layers.Flatten(), layers.Dense(1), layers.Activation("sigmoid")):
            model.add(layer)
        return model
    model = keras.Sequential([keras.Input((100,)), layers.Dense(7 * 7 * 256), layers.BatchNormalization(momentum=0.9)])
    for layer in (layers.Activation("relu"), layers.Reshape((7, 7, 256)), layers.Dropout(0.4)):
        model.add(layer)
    for features, upsample in ((128, True), (64, True), (32, False)):
        if upsample:
            model.add(layers.UpSampling2D())
        model.add(layers.Conv2DTranspose(features, 5, padding="same"))
        model.add(layers.BatchNormalization(momentum=0.9))
        model.add(layers.Activation("relu"))
    model.add(layers.Conv2DTranspose(1, 5, padding="same"))
    model.add(layers.Activation("sigmoid"))
    return model
