"""The stories of `kgrad demo`: real small networks on real digits, each sick in its own way."""
