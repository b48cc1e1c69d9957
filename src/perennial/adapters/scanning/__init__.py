"""What files and packages are: formats, pickles, licences. Whether that is allowed is decided in `core`."""
