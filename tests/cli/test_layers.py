#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A folder includes only from folders above it in doc/design.md's list; sources carry the licence."""
import glob
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.harness import TOP, main  # noqa: E402

# x86 and mem name each other's address types and walk; they count as one.
ORDER = [['base'], ['config'], ['mem', 'x86'], ['cpu'], ['bus'], ['irq'], ['backend'], ['dev'], ['fwtables'], ['boot'],
         ['instance'], ['debug'], ['machine'], ['net'], ['prog']]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}


def sources():
    for suffix in ('c', 'h', 'S'):
        yield from glob.glob(os.path.join(TOP, 'src', '**', f'*.{suffix}'), recursive=True)


def test_folders_include_only_from_above():
    wrong = []
    for source in sources():
        relative = os.path.relpath(source, os.path.join(TOP, 'src'))
        folder = relative.split(os.sep)[0]
        with open(source, encoding='utf-8') as f:
            for included in re.findall(r'^#include "([a-z0-9_]+)/', f.read(), re.M):
                if included not in RANK:
                    wrong.append(f'{relative}: {included}/ is not in the list')
                elif RANK[included] > RANK[folder]:
                    wrong.append(f'{relative} includes from {included}/, which is below {folder}/')
    assert not wrong, '\n'.join(sorted(wrong))


def test_every_source_carries_the_licence():
    wrong = []
    for source in sources():
        with open(source, encoding='utf-8') as f:
            if 'SPDX-License-Identifier: BSD-2-Clause' not in f.readline():
                wrong.append(os.path.relpath(source, TOP))
    assert not wrong, '\n'.join(sorted(wrong))


def test_devices_do_not_know_the_engine():
    for source in sources():
        relative = os.path.relpath(source, os.path.join(TOP, 'src'))
        if relative.startswith(('dev/', 'bus/', 'backend/')):
            with open(source, encoding='utf-8') as f:
                assert '#include "cpu/' not in f.read(), f'{relative} includes from cpu/'


if __name__ == '__main__':
    main(sys.modules[__name__])
