"""The only room, with treatment, that knows Keras and TensorFlow: takes the gradients of each step."""
