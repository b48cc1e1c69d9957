"""Formats, pickles and licences of files and packages. Whether that is allowed is decided in `core`."""
