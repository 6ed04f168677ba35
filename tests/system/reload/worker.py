"""Does what each line of its input says, past the hook of the worker, and tells what came of it."""

import ctypes
import errno
import os
import socket
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
held = {}


def name_of(result):
    return "yes" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def opened(path, flags=os.O_RDONLY):
    result = libc.open(path.encode(), flags)
    told = name_of(result)
    if result >= 0:
        os.close(result)
    return told


def hook(path):
    try:
        with open(path):
            return "yes"
    except PermissionError:
        return "no"


def hold(path):
    held[path] = os.open(path, os.O_RDONLY)
    return "yes"


def again(path):
    return os.pread(held[path], 100, 0).decode()


def moved(both):
    """As often as it goes, until told otherwise; a move that came about is undone by nobody."""
    one, other = both.split(":")

    def move():
        while not held.get("stop"):
            told = name_of(libc.rename(one.encode(), other.encode()))
            held["tries"] = held.get("tries", 0) + 1
            if told == "yes":
                held["moved"] = True

    held["mover"] = threading.Thread(target=move)
    held["mover"].start()
    return "yes"


def stop(_):
    held["stop"] = True
    held["mover"].join()
    return f"{held.get('tries', 0) > 0} {held.get('moved', False)}"


def waits(path):
    """Opens what nobody has opened at the other end, in a thread."""

    def wait():
        held["waited"] = opened(path)

    def processes():
        return len([name for name in os.listdir("/proc") if name.isdigit()])

    before = processes()
    held["waiter"] = threading.Thread(target=wait, daemon=True)
    held["waiter"].start()
    # Somebody waits in its place.
    while processes() == before:
        time.sleep(0.01)
    return "yes"


def waited(_):
    held["waiter"].join(50)
    return held.get("waited", "waits")


def link(both):
    one, other = both.split(":")
    return name_of(libc.link(one.encode(), other.encode()))


def replaced(path):
    """Another file stands there."""
    try:
        os.unlink(path)
        with open(path, "w") as file:
            file.write("other")
        return "yes"
    except OSError as error:
        return errno.errorcode[error.errno]


def ask(path):
    """Asks for another policy, as a process outside could."""
    try:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(path)
            caller.sendall(b'{"policies": []}')
            caller.shutdown(socket.SHUT_WR)
            return f"answered {caller.recv(1000)!r}"
    except OSError:
        return "no"


ACTS = {
    "read": opened,
    "write": lambda path: opened(path, os.O_WRONLY),
    "hook": hook,
    "hold": hold,
    "again": again,
    "move": moved,
    "stop": stop,
    "wait": waits,
    "waited": waited,
    "link": link,
    "ask": ask,
    "replace": replaced,
}

print("ready", flush=True)
for line in sys.stdin:
    act, _, path = line.rstrip("\n").partition(" ")
    print(ACTS[act](path), flush=True)
