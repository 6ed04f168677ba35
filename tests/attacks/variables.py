"""Line 20. Has an allowed program do what its starter may not, by variables that it obeys."""

import subprocess

SECRET, PLANTED = "@GROUND@/outside/secret", "@GROUND@/outside/by-variable"
MARK = b"@MARK@"
READ = f"import sys; sys.stdout.write(open({SECRET!r}).read())"


def run(words, **variables):
    environment = {"PATH": "/usr/bin:/bin", **variables}
    try:
        return subprocess.run(words, env=environment, capture_output=True, timeout=15)
    except subprocess.TimeoutExpired:
        raise NotReached("it did not end") from None


def yields(words, **variables):
    done = run(words, **variables)
    if MARK not in done.stdout + done.stderr:
        raise PermissionError(errno.EACCES, "the secret did not come out")


def folder():
    path = f"{TMP}/attack-modules-{os.getpid()}"
    os.makedirs(path, exist_ok=True)
    with open(f"{path}/sitecustomize.py", "w") as file:
        file.write(READ)
    return path


@attempt
def python_path():
    yields([sys.executable, "-c", "pass"], PYTHONPATH=folder())


@attempt
def python_breakpoint():
    folder()
    yields([sys.executable, "-c", "breakpoint()"], PYTHONPATH=folder(), PYTHONBREAKPOINT="sitecustomize.READ")


@attempt
def shell_start():
    path = f"{TMP}/attack-start-{os.getpid()}"
    with open(path, "w") as file:
        file.write(f"cat {SECRET}\n")
    yields(["/bin/bash", "-c", "true"], BASH_ENV=path)


@attempt
def shell_function():
    yields(["/bin/bash", "-c", "true; greet"], **{"BASH_FUNC_greet%%": f"() {{ cat {SECRET}; }}"})


@attempt
def loader_preloads():
    # The loader says what it could not read, and what it read that is no library.
    done = run(["/bin/true"], LD_PRELOAD=SECRET)
    if b"invalid ELF header" not in done.stderr and b"file too short" not in done.stderr:
        raise PermissionError(errno.EACCES, done.stderr.decode(errors="replace"))


@attempt
def loader_writes():
    run(["/bin/true"], LD_DEBUG="libs", LD_DEBUG_OUTPUT=PLANTED)
    written = [name for name in os.listdir(os.path.dirname(PLANTED)) if name.startswith("by-variable")]
    if not written:
        raise PermissionError(errno.EACCES, "nothing was written")


def loads(variable):
    def function():
        # A library that anybody has, in a place that its starter has filled.
        libraries = ("/lib/x86_64-linux-gnu/libm.so.6", "/lib64/libm.so.6", "/usr/lib/libm.so.6")
        source = next((path for path in libraries if os.path.exists(path)), None)
        if source is None:
            raise NotReached("no library")
        path = f"{TMP}/attack-library-{os.getpid()}.so"
        with open(source, "rb") as one, open(path, "wb") as other:
            other.write(one.read())
        done = run(["/bin/cat", "/proc/self/maps"], **{variable: path})
        # What is mapped to be read alone has no code that could run.
        if not any(b" r-xp " in line and path.encode() in line for line in done.stdout.splitlines()):
            raise PermissionError(errno.EACCES, done.stderr.decode(errors="replace"))

    function.__name__ = f"planted_library_by_{variable}"
    attempt(function)


loads("LD_PRELOAD")
