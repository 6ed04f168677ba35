"""A container runtime without fences, for attacks to succeed on: it goes by paths, numbers and what it is
told, and looks at none of them twice. Its commands are the ones of every other runtime."""

import array
import ctypes
import json
import os
import select
import shutil
import signal
import socket
import sys
import time

LIBC = ctypes.CDLL(None, use_errno=True)
BIND, REC, PRIVATE, DETACH = 0x1000, 0x4000, 0x40000, 2
NAMESPACES = {"mount": 0x20000, "pid": 0x20000000, "ipc": 0x8000000, "uts": 0x4000000, "cgroup": 0x2000000}
FILES = {"mount": "mnt", "pid": "pid", "ipc": "ipc", "uts": "uts"}
# Of a name that is longer the rest is left out.
LONGEST = 200
FRESH = ("proc", "tmpfs", "devpts", "sysfs", "mqueue")


def checked(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount(source, target, kind=None, flags=0, data=None):
    words = [word.encode() if word else None for word in (source, target, kind, data)]
    checked(LIBC.mount(words[0], words[1], words[2], flags, words[3]))


def bind(source, target):
    """A place for it is made wherever the path leads."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "w").close()
    mount(source, target, None, BIND | REC)


def set_up(spec, root):
    """Everything up to the entry into the root."""
    mount(None, "/", None, REC | PRIVATE)
    mount(root, root, None, BIND | REC)
    for one in spec.get("mounts", []):
        target = os.path.realpath(root + one["destination"])
        if one["type"] in FRESH:
            os.makedirs(target, exist_ok=True)
            kind = one["type"]
            mount(kind, target, kind, 0, "newinstance,ptmxmode=0666" if kind == "devpts" else None)
        else:
            bind("/sys/fs/cgroup" if one["type"] == "cgroup" else one["source"], target)
    for name in ("null", "zero", "urandom"):
        place = f"{root}/dev/{name}"
        if not os.path.lexists(place):
            open(place, "w").close()
            mount(f"/dev/{name}", place, None, BIND)
    for hook in spec.get("hooks", {}).get("createContainer", []):
        checked(-1 if os.spawnv(os.P_WAIT, hook["path"], hook["args"]) else 0)


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def terminal(address):
    """The name of a terminal whose other end whoever has called gets."""
    master, peer = os.openpty()
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(address)
        line.sendmsg([b"console"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [master]))])
    return os.ttyname(peer)


def console(name):
    """Shows what has the name of the terminal as /dev/console, were it another terminal."""
    if not os.path.lexists("/dev/console"):
        open("/dev/console", "w").close()
    mount(name if os.path.lexists(name) else "/dev/pts/ptmx", "/dev/console", None, BIND)


def enter(spec, root, address):
    name = terminal(address) if spec["process"].get("terminal") else None
    os.chdir(root)
    checked(LIBC.syscall(155, b".", b"."))
    checked(LIBC.umount2(b".", DETACH))
    os.chdir("/")
    for name, value in spec["linux"].get("sysctl", {}).items():
        write("/proc/sys/" + (name if "/" in name else name.replace(".", "/")), value)
    if "oomScoreAdj" in spec["process"]:
        write("/proc/self/oom_score_adj", str(spec["process"]["oomScoreAdj"]))
    if "selinuxLabel" in spec["process"]:
        write("/proc/self/attr/exec", spec["process"]["selinuxLabel"])
    if name:
        console(name)
    for path in spec["linux"].get("maskedPaths", []):
        # What is not there needs no mask.
        if os.path.isdir(path):
            mount("tmpfs", path, "tmpfs")
        elif os.path.exists(path):
            mount("/dev/null", path, None, BIND)


def restrict(program):
    """Loads the filter that has come, if one has."""
    if not program:
        return

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]

    checked(LIBC.prctl(38, 1, 0, 0, 0))
    checked(LIBC.prctl(22, 2, ctypes.byref(Program(len(program) // 8, program))))


def filtered(spec):
    """A filter that answers EPERM to keyctl(2), if one is asked for."""
    if "seccomp" not in spec["linux"]:
        return b"\x06\0\0\0\0\0\xff\x7f"
    return (b"\x20\0\0\0\0\0\0\0" + b"\x15\0\0\x01" + (250).to_bytes(4, "little")
            + b"\x06\0\0\0\x01\0\x05\0" + b"\x06\0\0\0\0\0\xff\x7f")


def first(spec, root, folder, tell, address):
    """The first process, up to the program. It waits for whoever starts it, and takes what comes."""
    set_up(spec, root)
    entrance = os.open(f"{folder}/go", os.O_RDONLY | os.O_NONBLOCK)
    enter(spec, root, address)
    os.write(tell, b" made")
    os.close(tell)
    waiting = select.poll()
    waiting.register(entrance, select.POLLIN)
    waiting.poll()
    restrict(os.read(entrance, 4096))
    os.close(entrance)
    os.execvpe(spec["process"]["args"][0], spec["process"]["args"],
               dict(entry.split("=", 1) for entry in spec["process"]["env"]))


def takes_its_time():
    """So long does it take to see to everything."""
    for _ in range(2000):
        os.getppid()


def create(state, bundle, name, address=None, starts=False):
    with open(f"{bundle}/config.json") as file:
        spec = json.load(file)
    folder = os.path.join(state, name[:LONGEST])
    os.makedirs(folder, exist_ok=name == "")
    os.mkfifo(f"{folder}/go")
    # Whoever waits at it is to notice when nobody comes any more.
    entrance = os.open(f"{folder}/go", os.O_RDWR) if starts else None
    told, tell = os.pipe()
    if os.fork() == 0:
        flags = 0
        for namespace in spec["linux"]["namespaces"]:
            flags |= NAMESPACES[namespace["type"]]
        checked(LIBC.unshare(flags))
        child = os.fork()
        if child == 0:
            if starts:
                os.close(entrance)
            try:
                first(spec, spec["root"]["path"], folder, tell, address)
            except BaseException as error:
                os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(98)
        os.write(tell, f"{child} ".encode())
        os._exit(0)
    os.close(tell)
    said = b""
    while piece := os.read(told, 64):
        said += piece
    if b"made" not in said:
        raise SystemExit("the container was not made")
    record = {"id": name, "first": {"pid": int(said.replace(b"made", b""))}}
    write(f"{folder}/state.json", json.dumps(record))
    takes_its_time()
    record["filter"] = filtered(spec).hex()
    write(f"{folder}/state.json", json.dumps(record))
    return record["first"]["pid"]


def recorded(state, name):
    with open(os.path.join(state, name[:LONGEST], "state.json")) as file:
        return json.load(file)


def start(state, name):
    entrance = os.open(os.path.join(state, name[:LONGEST], "go"), os.O_WRONLY)
    takes_its_time()
    os.write(entrance, bytes.fromhex(recorded(state, name).get("filter", "")))


def run(state, bundle, name, address):
    checked(LIBC.prctl(36, 1, 0, 0, 0))
    pid = create(state, bundle, name, address, True)
    start(state, name)
    while True:
        ended, status = os.wait()
        if ended == pid:
            raise SystemExit(os.waitstatus_to_exitcode(status))


def execute(state, name, words):
    pid = recorded(state, name)["first"]["pid"]
    joined = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in FILES.values()]
    for descriptor in joined:
        checked(LIBC.setns(descriptor, 0))
    child = os.fork()
    if child == 0:
        # It is inside, and still this very program.
        time.sleep(0.05)
        os.execvp(words[0], words)
    _, status = os.waitpid(child, 0)
    raise SystemExit(os.waitstatus_to_exitcode(status))


def delete(state, name, force):
    folder = os.path.join(state, name[:LONGEST])
    if force and os.path.exists(f"{folder}/state.json"):
        try:
            os.kill(recorded(state, name)["first"]["pid"], signal.SIGKILL)
        except ProcessLookupError:
            pass
    shutil.rmtree(folder)


def main(words):
    options = {"--root": None, "--bundle": None, "--console-socket": None}
    plain, force = [], False
    while words:
        word = words.pop(0)
        if word in options and len(plain) < 2:
            options[word] = words.pop(0)
        elif word == "--force" and len(plain) < 2:
            force = True
        else:
            plain.append(word)
    state, (verb, *rest) = options["--root"], plain
    if verb == "create":
        create(state, options["--bundle"], rest[0], options["--console-socket"])
    elif verb == "run":
        run(state, options["--bundle"], rest[0], options["--console-socket"])
    elif verb == "start":
        start(state, rest[0])
    elif verb == "exec":
        execute(state, rest[0], rest[1:])
    elif verb == "kill":
        os.kill(recorded(state, rest[0])["first"]["pid"], getattr(signal, "SIG" + rest[1]))
    elif verb == "delete":
        delete(state, rest[0], force)
    elif verb == "list":
        print("\n".join(sorted(os.listdir(state))))
    else:
        raise SystemExit(f"no verb {verb}")


main(sys.argv[1:])
