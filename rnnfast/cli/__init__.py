"""The command `rnnfast`: one file a command; everything here is built on the public names of the library."""
