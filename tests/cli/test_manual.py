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


def letters_of_page(name):
    """The options of one letter that it has entries for; several may share one."""
    entries = re.findall(r'^\.It (Fl .*)', page(name), re.M)
    return {letter for entry in entries for letter in re.findall(r'\b(?:Fl|Op Fl) (\w)\b', entry)}


def completions(program, *words):
    """What bash offers for the last of @words."""
    script = (f'. {TOP}/share/completions/{program}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
              f'f=$(complete -p {program}); f=${{f#*-F }}; ${{f% *}}; printf "%s\\n" "${{COMPREPLY[@]}}"')
    status, out, err = run('bash', '-c', script, 'bash', program, *words, env={'PATH': BUILD + ':' + os.environ['PATH']})
    assert status == 0 and not err, err
    return set(out.split())


def test_page_usage_and_completion_have_the_same_options():
    if shutil.which('bash') is None:
        raise Skip('bash is not installed')
    programs = {'bhyve': ('bhyve.8', [BHYVE]), 'bhyveload': ('bhyveload.8', [os.path.join(BUILD, 'bhyveload')]),
                'vmrun.sh': ('vmrun.8', ['sh', os.path.join(TOP, 'share', 'vmrun.sh')])}
    for program, (name, words) in programs.items():
        _, out, err = run(*words, '-h')
        usage = set(re.findall(r'(?:^|[\s,[])-(\w)\b', out + err))
        for group in re.findall(r'\[-(\w+)\]', out + err):
            usage |= set(group)
        offered = {word[1:] for word in completions(program, '-')}
        assert usage - {'h'} == letters_of_page(name) - {'h'}, (program, usage ^ letters_of_page(name))
        assert usage - {'h'} == offered - {'h'}, (program, usage ^ offered)


def test_completion_has_every_action_of_bhyvectl():
    if shutil.which('bash') is None:
        raise Skip('bash is not installed')
    out = run(BHYVECTL, '--help')[1]
    actions = set(re.findall(r'--([a-z0-9-]+)', out))
    offered = {word[2:].rstrip('=') for word in completions('bhyvectl', '--')}
    assert actions <= offered | {'get-desc-', 'set-desc-', 'get-', 'set-'}, actions - offered


def test_pages_are_clean():
    if shutil.which('mandoc') is None:
        raise Skip('mandoc is not installed')
    pages = glob.glob(os.path.join(TOP, 'man', '*.[58]')) + [config_page()]
    p = subprocess.run(['mandoc', '-T', 'lint', '-W', 'warning', *pages], capture_output=True, text=True, check=False)
    assert p.returncode == 0, p.stdout


if __name__ == '__main__':
    main(sys.modules[__name__])
