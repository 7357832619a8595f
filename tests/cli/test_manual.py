#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The manual pages say what the programs do, and are clean mdoc."""
import glob
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.harness import BHYVE, BHYVECTL, BUILD, TOP, Skip, main, run  # noqa: E402


def page(name):
    with open(os.path.join(TOP, 'man', name), encoding='ascii') as f:
        return f.read()


def config_page():
    """bhyve_config.5 is made from the schema."""
    subprocess.run(['make', '-s', 'man', f'BUILD={os.path.relpath(BUILD, TOP)}'], check=True, cwd=TOP)
    return os.path.join(BUILD, 'man', 'bhyve_config.5')


def test_every_default_is_in_bhyve_config():
    with open(config_page(), encoding='ascii') as f:
        text = f.read()
    status, out, _ = run(BHYVE, '-o', 'config.dump=true', 'vm')
    assert status == 0
    for line in out.splitlines():
        name = line.split('=')[0]
        assert f'.It Va {name} ' in text, f'{name} is not in bhyve_config.5'


def test_every_option_is_in_bhyve():
    text = page('bhyve.8')
    for letter in re.findall(r'^  -(\w)', run(BHYVE, '-h')[1], re.M):
        assert re.search(rf'^\.It Fl {letter}\b', text, re.M), f'-{letter} is not in bhyve.8'


def test_every_device_is_in_bhyve():
    text = page('bhyve.8')
    for device in re.findall(r'^(\S+)', run(BHYVE, '-s', 'help')[1], re.M):
        assert device in text, f'{device} is not in bhyve.8'


def test_every_action_is_in_bhyvectl():
    text = page('bhyvectl.8')
    for action in re.findall(r'^  --([a-z-]+) ', run(BHYVECTL, '--help')[1], re.M):
        assert f'-{action}' in text, f'--{action} is not in bhyvectl.8'


def test_pages_are_clean():
    if shutil.which('mandoc') is None:
        raise Skip('mandoc is not installed')
    pages = glob.glob(os.path.join(TOP, 'man', '*.[58]')) + [config_page()]
    p = subprocess.run(['mandoc', '-T', 'lint', '-W', 'warning', *pages], capture_output=True, text=True, check=False)
    assert p.returncode == 0, p.stdout


if __name__ == '__main__':
    main(sys.modules[__name__])
