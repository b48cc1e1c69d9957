"""Licences (SPDX) that the spec of a new model allows: a person may add or remove some there."""

from __future__ import annotations

LICENCES = (
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD-3-Clause-Clear",
    "BSD-3-Clause-Modification",
    "BSL-1.0",
    "CC0-1.0",
    "CNRI-Python",
    "ISC",
    "LicenseRef-own",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "PSF-2.0",
    "TCL",
    "Unlicense",
    "ZPL-2.1",
    "Zlib",
    "Artistic-1.0-Perl",
    "EPL-1.0",
    "EPL-2.0",
    "LicenseRef-GPL-2.0-linking-exception",
    "MPL-2.0",
)
