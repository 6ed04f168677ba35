"""Lines 18, 19, 21. Runs a program that is denied where others may run: by other names, copies and starters."""

import shutil
import subprocess

PROGRAM = "/usr/bin/id"
HERE = "@GROUND@/granted"
MARK = b"uid="
SAYS = (MARK, b"Usage: " + PROGRAM.encode())


def execute(path, *arguments):
    shows(lambda: syscall("execve", path.encode(), vector(*(arguments or ("id",))), vector("PATH=/usr/bin:/bin")), *SAYS)


def started(name, *words):
    def function():
        if shutil.which(words[0]) is None:
            raise NotReached(f"there is no {words[0]}")
        shows(lambda: os.execvp(words[0], words), *SAYS)

    function.__name__ = f"starter_{name}"
    attempt(function)


@attempt
def api_run():
    if MARK not in subprocess.run([PROGRAM], capture_output=True).stdout:
        raise PermissionError(errno.EACCES, "it said nothing")


@attempt
def api_spawn():
    shows(lambda: os.waitpid(os.posix_spawn(PROGRAM, ["id"], {}), 0), *SAYS)


@attempt
def raw_execve():
    execute(PROGRAM)


@attempt
def raw_execveat():
    folder = os.open("/usr/bin", os.O_PATH)
    shows(lambda: syscall("execveat", folder, b"id", vector("id"), vector(), 0), *SAYS)


@attempt
def raw_execveat_by_descriptor():
    program = os.open(PROGRAM, os.O_PATH)
    shows(lambda: syscall("execveat", program, b"", vector("id"), vector(), 0x1000), *SAYS)


@attempt
def raw_by_descriptor_s_name():
    program = os.open(PROGRAM, os.O_PATH)
    execute(f"/proc/self/fd/{program}")


@attempt
def raw_by_own_root():
    execute("/proc/self/root" + PROGRAM)


@attempt
def raw_by_other_spelling():
    execute("//usr/./bin/../bin//id")


@attempt
def raw_by_symlink():
    os.symlink(PROGRAM, mine("symlink"))
    execute(mine("symlink"))


@attempt
def raw_by_hard_link():
    os.link(PROGRAM, f"{HERE}/hard-link")
    try:
        execute(f"{HERE}/hard-link")
    finally:
        os.unlink(f"{HERE}/hard-link")


def copy(folder):
    path = f"{folder}/attack-copy-{os.getpid()}"
    shutil.copyfile(PROGRAM, path)
    os.chmod(path, 0o755)
    return path


@attempt
def raw_copy():
    execute(copy(TMP))


@attempt
def raw_copy_in_a_granted_folder():
    execute(copy(HERE))


@attempt
def raw_renamed_copy():
    path = copy(HERE)
    os.rename(path, path + "-renamed")
    execute(path + "-renamed")


@attempt
def raw_memory():
    descriptor = syscall("memfd_create", b"attack", 0)
    with open(PROGRAM, "rb") as file:
        os.write(descriptor, file.read())
    shows(lambda: syscall("execveat", descriptor, b"", vector("id"), vector(), 0x1000), *SAYS)


@attempt
def raw_loader():
    execute(LOADER, "ld.so", PROGRAM)


@attempt
def raw_loader_by_descriptor():
    program = os.open(PROGRAM, os.O_PATH)
    os.set_inheritable(program, True)
    execute(LOADER, "ld.so", f"/proc/self/fd/{program}")


@attempt
def raw_script():
    path = mine("script")
    with open(path, "w") as file:
        file.write(f"#!{PROGRAM} --help\n")
    os.chmod(path, 0o755)
    execute(path)


started("sh", "sh", "-c", PROGRAM)
started("sh_exec", "sh", "-c", f"exec {PROGRAM}")
started("env", "env", PROGRAM)
started("nice", "nice", PROGRAM)
started("timeout", "timeout", "5", PROGRAM)
started("nohup", "nohup", PROGRAM)
started("setsid", "setsid", "-w", PROGRAM)
started("find", "find", "/usr/bin/id", "-exec", PROGRAM, ";")
started("busybox", "busybox", "sh", "-c", PROGRAM)


@attempt
def raw_from_a_thread():
    import threading

    def start():
        call = lambda: LIBC.syscall(59, PROGRAM.encode(), vector("id"), vector())
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        raise PermissionError(errno.EACCES, "the thread's execve came back")

    shows(start, *SAYS)
