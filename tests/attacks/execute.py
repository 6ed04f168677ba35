"""Lines 18, 19, 21. Runs a program that the policy does not name: out of memory, from a copy, through the loader."""

import shutil
import subprocess

PROGRAM = "/bin/true"


def program():
    """The bytes of some program. Where none can be read, the loader itself is one."""
    for path in (PROGRAM, sys.executable, LOADER):
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError:
            continue
    raise NotReached("no program can be read")


def copy():
    path = f"{TMP}/attack-copy-{os.getpid()}"
    with open(path, "wb") as file:
        file.write(program())
    os.chmod(path, 0o755)
    return path


def memory():
    descriptor = os.memfd_create("attack", 0)
    os.write(descriptor, program())
    return descriptor


def runs(start):
    """Whether a child that calls `start` became another program."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        os.dup2(os.open("/dev/null", os.O_RDWR), 1)
        try:
            start()
            number = 0
        except OSError as error:
            number = error.errno
        os.write(writer, struct.pack("=i", number))
        os._exit(0)
    os.close(writer)
    # Nothing is written when the exec closed the pipe.
    answer = os.read(reader, 4)
    os.waitpid(child, 0)
    if answer:
        number = struct.unpack("=i", answer)[0]
        raise OSError(number, os.strerror(number))


ARGUMENTS = ["attack", "--version"]
ENVIRONMENT = {"PATH": "/bin"}


@attempt
def api_another_program():
    runs(lambda: os.execve(PROGRAM, ARGUMENTS, ENVIRONMENT))


@attempt
def api_spawn():
    subprocess.run([PROGRAM], check=True)


@attempt
def api_shell():
    # A shell that cannot start the program either says so with 126 or 127.
    if os.system(PROGRAM) != 0:
        raise PermissionError(errno.EACCES, "the shell did not run it")


@attempt
def api_memory():
    descriptor = memory()
    runs(lambda: os.execve(descriptor, ARGUMENTS, ENVIRONMENT))


@attempt
def api_memory_by_path():
    descriptor = memory()
    runs(lambda: os.execve(f"/proc/self/fd/{descriptor}", ARGUMENTS, ENVIRONMENT))


@attempt
def api_copy():
    path = copy()
    runs(lambda: os.execve(path, ARGUMENTS, ENVIRONMENT))


@attempt
def api_script():
    path = f"{TMP}/attack-script-{os.getpid()}"
    with open(path, "w") as file:
        file.write("#!/bin/sh\nexit 0\n")
    os.chmod(path, 0o755)
    runs(lambda: os.execve(path, ARGUMENTS, ENVIRONMENT))


@attempt
def api_loader():
    runs(lambda: os.execve(LOADER, ["ld.so", PROGRAM], ENVIRONMENT))


@attempt
def api_loader_of_copy():
    path = copy()
    runs(lambda: os.execve(LOADER, ["ld.so", path], ENVIRONMENT))


@attempt
def api_own_interpreter():
    runs(lambda: os.execve(os.path.realpath("/proc/self/exe"), ["python3", "-c", "pass"], ENVIRONMENT))


@attempt
def raw_execve():
    runs(lambda: syscall("execve", PROGRAM.encode(), vector(*ARGUMENTS), vector("PATH=/bin")))


@attempt
def raw_execveat_memory():
    descriptor = syscall("memfd_create", b"attack", 0)
    os.write(descriptor, program())
    runs(lambda: syscall("execveat", descriptor, b"", vector(*ARGUMENTS), vector(), 0x1000))


@attempt
def raw_execveat_copy():
    descriptor = os.open(copy(), os.O_PATH)
    runs(lambda: syscall("execveat", descriptor, b"", vector(*ARGUMENTS), vector(), 0x1000))


@attempt
def raw_loader():
    runs(lambda: syscall("execve", LOADER.encode(), vector("ld.so", PROGRAM), vector()))


@attempt
def raw_from_a_thread():
    import threading

    def start():
        thread = threading.Thread(
            target=lambda: LIBC.syscall(59, PROGRAM.encode(), vector(*ARGUMENTS), vector()))
        thread.start()
        thread.join()
        raise PermissionError(errno.EACCES, "the thread's execve came back")

    runs(start)
