# SPDX-License-Identifier: BSD-2-Clause
"""What the parts of make bench share."""


class Skip(Exception):
    """What a part needs is absent; the text says what."""
