"""The run folder and its content as arrays: the one format all other rooms speak."""
