"""What attacks on the runtime stand on. They are made from outside, by whoever has a hand in a bundle, an
image, a state or the moment: outside on `careless.py`, a runtime without fences, inside on Buntime. Both
run in the namespaces that are thrown away, on bundles of the attempt's own."""

import json
import shutil
import time

GROUND, BUNTIME = "@GROUND@", "@BUNTIME@"
PYTHON = os.path.realpath(sys.executable)
# The runtime is the first word, for a copy of it to take its place.
RUNTIME = [BUNTIME] if BUNTIME else [PYTHON, "-I", f"{GROUND}/careless.py"]
YARD, SECRET, MARK = f"{GROUND}/yard", f"{GROUND}/outside/secret", "@MARK@"
# How long a call of the runtime, or what a test waits for, may take in seconds.
PATIENCE = 20
SYSTEM = [path for path in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64") if os.path.exists(path)]
if not any(PYTHON.startswith(f"{path}/") for path in SYSTEM):
    SYSTEM += [sys.base_prefix, sys.base_exec_prefix, PYTHON]
# What Docker gives, without what makes nodes.
FEW = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_SETGID", "CAP_SETUID"]
ALL = FEW + ["CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_CHROOT", "CAP_NET_ADMIN"]
# The state of one container or another's, by what is looked for in it.
STATE = f"{YARD}/state"
CALLS = []
# Processes that have ended, by their numbers.
GONE = set()
# Whoever is not root on the host is given no control group.
HAS_GROUPS = os.stat("/proc/sys/kernel").st_uid == 0


def verb(*words):
    """A call of the runtime on the containers of the attempt."""
    return [*RUNTIME, "--root", STATE, *words]


class Called:
    """A program that was started, and may go on."""

    def __init__(self, words, stdin="/dev/null"):
        self.shown = " ".join(words)[:200]
        self.stem = f"{YARD}/call-{len(CALLS)}"
        CALLS.append(self)
        self.status = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for number, path in enumerate((stdin, self.stem + ".out", self.stem + ".err")):
                    flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                    descriptor = path if isinstance(path, int) else os.open(path, flags, 0o600)
                    os.dup2(descriptor, number)
                signal.alarm(0)
                os.execve(words[0], words, {"PATH": os.environ["PATH"], "HOME": "/"})
            except OSError as error:
                os.write(2, str(error).encode())
            os._exit(99)

    def wait(self, patience=PATIENCE):
        """The call itself, its exit status known."""
        until(lambda: self.ended() is not None, f"{self.shown} does not end", patience)
        return self

    def ended(self):
        """The exit status, or nothing as long as there is none. Orphans are waited for on the way."""
        reap()
        return self.status

    def said(self):
        """What went to both outputs."""
        texts = []
        for end in (".out", ".err"):
            if os.path.exists(self.stem + end):
                with open(self.stem + end, errors="replace") as file:
                    texts.append(file.read())
        return "".join(texts)


def reap():
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        GONE.add(pid)
        for call in CALLS:
            if call.pid == pid:
                call.status = os.waitstatus_to_exitcode(status)


def until(is_so, why, patience=PATIENCE):
    end = time.monotonic() + patience
    while not is_so():
        if time.monotonic() > end:
            raise NotReached(why)
        reap()
        time.sleep(0.003)


def call(*words):
    return Called(verb(*words)).wait()


def denied(why):
    raise PermissionError(errno.EACCES, why)


def image():
    """A root with folders and nothing else, and the mounts that bring the system's programs."""
    root, mounts = f"{YARD}/rootfs", []
    for folder in ("proc", "sys", "dev", "tmp", "etc"):
        os.makedirs(f"{root}/{folder}")
    for path in SYSTEM:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        else:
            mounts.append(bound(path, path, "ro"))
    return mounts


def bound(source, destination, *options):
    return {"destination": destination, "type": "bind", "source": source, "options": ["rbind", *options]}


PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]}
PTS = {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
       "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]}


def bundle(program, change=lambda spec: None, capabilities=FEW, name="one"):
    """A bundle that runs a program of Python, or words, with what `change` does to its configuration."""
    if not os.path.exists(f"{YARD}/rootfs"):
        with open(f"{YARD}/system.json", "w") as file:
            json.dump(image(), file)
    with open(f"{YARD}/system.json") as file:
        system = json.load(file)
    args = [PYTHON, "-I", "-c", program] if isinstance(program, str) else program
    few = dict.fromkeys(("bounding", "effective", "permitted"), capabilities)
    spec = {
        "ociVersion": "1.0.2",
        "process": {"terminal": False, "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/",
                    "env": ["PATH=/usr/bin:/bin"], "capabilities": few, "noNewPrivileges": True},
        "root": {"path": f"{YARD}/rootfs"},
        "mounts": [PROC, DEV, PTS, *system],
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
    }
    if HAS_GROUPS:
        spec["linux"]["cgroupsPath"] = f"/@GROUP@/{name}"
    change(spec)
    folder = f"{YARD}/bundles/{name}"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/config.json", "w") as file:
        json.dump(spec, file)
    return folder


def run(program, change=lambda spec: None, **more):
    """Runs a container to its end."""
    ended = call("run", "--bundle", bundle(program, change, **more), "one")
    call("delete", "--force", "one")
    return ended


def started(program, change=lambda spec: None, **more):
    """The creation of a container that runs, to whose outputs the container writes."""
    created = call("create", "--bundle", bundle(program, change, **more), "one")
    for done in (created, call("start", "one")):
        if done.status != 0:
            raise NotAttempted(f"{done.shown}: {done.said()}")
    return created


def sandbox(program, granted, protected):
    """A program under a rule that lets it use a folder and denies one path in it, which may be missing."""
    if BUNTIME:
        flags = [f"--allow-{what}={granted}" for what in ("read", "write")]
        flags += [f"--deny-{what}={protected}" for what in ("read", "write")]
        return Called([BUNTIME, "run", "--quiet", "--python", PYTHON, *flags, "-c", program])

    def change(spec):
        spec["mounts"].append(bound(granted, granted, "rw"))
        spec["linux"]["maskedPaths"] = [protected]

    return Called(verb("run", "--bundle", bundle(program, change), "one"))


def against(function):
    """An attempt against the runtime, in a yard of its own, of which no container stays."""

    def made():
        checked(LIBC.prctl(36, 1))
        if UNABLE:
            raise NotAttempted(UNABLE)
        shutil.rmtree(YARD, ignore_errors=True)
        os.makedirs(STATE, 0o700)
        try:
            function()
        finally:
            tidy()

    made.__name__ = function.__name__
    return attempt(made)


def tidy():
    """Removes what an attempt has left of its containers."""
    for name in sorted(os.listdir(STATE)):
        call("delete", "--force", name)


def unable():
    """Why no container can be had here: a harmless one is made first."""
    os.makedirs(STATE, 0o700)
    try:
        ended = run("print('it runs')")
    except NotReached as error:
        return str(error)
    said = ended.said()
    return "" if "it runs" in said else f"no container runs here: {said.strip()[-300:]}"


enter_groups("@GROUP@")
UNABLE = unable()
