"""Lines 18, 19, 21. Runs copies of a program, where that program may run and no other: from files and from memory."""

import shutil

PROGRAM = os.path.realpath("/usr/bin/printf")
MARK = b"uid="


def execute(path, *arguments):
    shows(lambda: syscall("execve", path.encode(), vector(*arguments), vector("PATH=/usr/bin:/bin")), MARK)


@attempt
def raw_copy():
    path = mine("true")
    shutil.copyfile(PROGRAM, path)
    os.chmod(path, 0o755)
    execute(path, "printf", "uid=")


@attempt
def raw_memory():
    descriptor = syscall("memfd_create", b"attack", 0)
    with open(PROGRAM, "rb") as file:
        os.write(descriptor, file.read())
    shows(lambda: syscall("execveat", descriptor, b"", vector("printf", "uid="), vector(), 0x1000), MARK)


@attempt
def raw_loader_of_a_copy():
    path = mine("printf")
    shutil.copyfile(PROGRAM, path)
    execute(LOADER, "ld.so", path, "uid=")


@attempt
def raw_memory_by_name():
    descriptor = syscall("memfd_create", b"attack", 0)
    with open(PROGRAM, "rb") as file:
        os.write(descriptor, file.read())
    execute(f"/proc/self/fd/{descriptor}", "printf", "uid=")


@attempt
def raw_symlink_by_another_name():
    """Under a name of its own, a program of many names would be another one."""
    os.symlink("/bin/sh", mine("sh"))
    execute(mine("sh"), "sh", "-c", "echo uid=")


@attempt
def raw_loader_of_another_program():
    execute(LOADER, "ld.so", "/bin/sh", "-c", "echo uid=")
