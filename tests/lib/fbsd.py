# SPDX-License-Identifier: BSD-2-Clause
"""The project's own FreeBSD-like kernel (tests/guest/fbsd_kernel.c) and what it boots from."""
import os
import shutil
import subprocess

from lib.harness import BUILD, Skip, TOP, path

BHYVELOAD = os.path.join(BUILD, 'bhyveload')
CFLAGS = ('-O1 -g0 -ffreestanding -fno-stack-protector -fno-asynchronous-unwind-tables -Wall -Wextra -Werror '
          '-Wno-unused-parameter -mgeneral-regs-only').split()
WIDTHS = {
    64: dict(cc=['-m64', '-mcmodel=kernel', '-mno-red-zone', '-fno-pic'], ld='elf_x86_64', base='0xffffffff80200000'),
    32: dict(cc=['-m32', '-fpie', '-fvisibility=hidden'], ld='elf_i386', base='0xc0400000'),
}
STAGE = {}  # per width, made once


def compile_to(out, source, width, *args):
    subprocess.run(['cc', *WIDTHS[width]['cc'], *CFLAGS, *args, '-c', os.path.join(TOP, 'tests/guest', source),
                    '-o', out], check=True)


def link(out, width, *args):
    subprocess.run(['ld', '-m', WIDTHS[width]['ld'], '-z', 'max-page-size=4096', '-z', 'noseparate-code',
                    '-o', out, *args], check=True)


def make_module(width, out, name, needs):
    compile_to(out + '.o', 'fbsd_module.c', width, f'-DMODULE="{name}"', f'-DNEEDS="{needs}"')
    if width == 64:
        os.rename(out + '.o', out)  # amd64 modules are relocatable files
    else:
        link(out, width, '-shared', out + '.o')
        os.unlink(out + '.o')


def stage(width):
    """A directory with /boot as a guest has it."""
    if width in STAGE:
        return STAGE[width]
    top = path(f'stage{width}')
    for d in ('boot/kernel', 'boot/modules', 'etc'):
        os.makedirs(os.path.join(top, d))
    compile_to(path('k.o'), 'fbsd_kernel.c', width)
    link(f'{top}/boot/kernel/kernel', width, f'-Ttext-segment={WIDTHS[width]["base"]}', '-e', '_start', path('k.o'))
    make_module(width, f'{top}/boot/modules/upper.ko', 'upper', 'lower')
    make_module(width, f'{top}/boot/kernel/lower.ko', 'lower', 'kernel')
    with open(f'{top}/boot/image', 'w') as f:
        f.write('IMAGE' * 1000)
    with open(f'{top}/boot/loader.conf', 'w') as f:
        f.write('upper_load="YES"\nupper_flags="debug=1"\nimage_load="YES"\nimage_type="mfs_root"\n'
                'image_name="/boot/image"\nkern.test="two words"\nboot_verbose="YES"\n')
    with open(f'{top}/etc/fstab', 'w') as f:
        f.write('/dev/ufs/root / ufs rw,noatime 1 1\n')
    STAGE[width] = top
    return top


def copy(name, *settings, width=64):
    """A copy of the stage whose loader asks nothing and sets the name=value of @settings."""
    top = path(name)
    shutil.copytree(stage(width), top)
    with open(f'{top}/boot/loader.conf', 'a') as f:
        for setting in ('autoboot_delay=-1', *settings):
            f.write('{}="{}"\n'.format(*setting.split('=', 1)))
    return top


def makefs(kind, name, top, *options):
    """An image of the directory @top: ffs or cd9660."""
    try:
        subprocess.run(['makefs', '-t', kind, *options, path(name), top], check=True, stdout=subprocess.DEVNULL)
    except FileNotFoundError:
        raise Skip('makefs is not installed') from None
    return path(name)


def ufs(name, top):
    return makefs('ffs', name, top, '-s', '4m', '-o', 'version=2')
