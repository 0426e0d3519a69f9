"""The stories of `kgrad demo`: real small networks on real digits, each sick in its own way."""

# Named here so that a wrong name is told without loading TensorFlow; `stories.STORIES` holds them.
STORY_NAMES = ("vanishing", "exploding", "plateau", "dead-relu", "healthy")
