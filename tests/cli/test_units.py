#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The systemd units are sound, and start programs that there are."""
import glob
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.harness import BUILD, TOP, Skip, file, main  # noqa: E402


def with_paths(text):
    """The unit with the programs of the build directory: systemd looks for them in system directories only."""
    return re.sub(r'^(Exec\w+=-?)(bhyve\w*|nmdm) ', rf'\1{BUILD}/\2 ', text, flags=re.M)


def verify(name, text):
    """What systemd says of a unit."""
    done = subprocess.run(['systemd-analyze', 'verify', '--man=no', file(name, text.encode())],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    return done.stdout if done.returncode == 0 or done.stdout else f'status {done.returncode}'


def test_units_are_sound():
    if not shutil.which('systemd-analyze'):
        raise Skip('systemd-analyze is not installed')
    units = sorted(glob.glob(os.path.join(TOP, 'share/systemd/*')))
    assert units
    for path in units:
        with open(path, encoding='ascii') as f:
            text = with_paths(f.read())
        assert f'={BUILD}/' in text, path
        name = os.path.basename(path).replace('@', '@vm0')
        said = verify(name, text)
        assert said == '', said
        # And the check would notice.
        assert verify(name, re.sub('(Type|Restart)=', r'\1=x', text)) != ''


if __name__ == '__main__':
    main(sys.modules[__name__])
