"""Line 1. Opens the runtime's own file, found at /proc/PID/exe while it is inside, and writes to it once it has ended."""

import hashlib

FILE = f"{YARD}/runtime"
# What stays inside for as long as its input is open.
HOLD = ["update", "--resources", "-", "x"] if BUNTIME else ["-I", "-c", "import sys; sys.stdin.read()"]
SCRIPT = "#!/proc/self/exe" + (" update" if BUNTIME else "") + "\nimport sys\nsys.stdin.read()\n"
# Holds whatever is another program than this one, and waits for the day when it can be written.
SEEK = f"""
import os, time
def number(path):
    found = os.stat(path)
    return found.st_dev, found.st_ino
own, end, held = number("/proc/self/exe"), time.monotonic() + {PATIENCE}, []
while not held and time.monotonic() < end:
    for pid in os.listdir("/proc"):
        try:
            if pid.isdigit() and number(f"/proc/{{pid}}/exe") != own:
                held.append(os.open(f"/proc/{{pid}}/exe", os.O_RDONLY))
        except OSError:
            pass
print("HELD" if held else "NONE", flush=True)
while held and time.monotonic() < end:
    try:
        os.write(os.open(f"/proc/self/fd/{{held[0]}}", os.O_WRONLY), b"overwritten")
        print("WRITTEN")
        break
    except OSError as error:
        if error.errno != 26:
            print(error)
            break
    time.sleep(0.001)
"""


def digest():
    with open(FILE, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def overwritten(*words, turns=1):
    """Runs words in a container, again if nobody has seen the runtime there, which holds its input open."""
    shutil.copy(RUNTIME[0], FILE)
    RUNTIME[0], before = FILE, digest()
    seeking = started(SEEK, capabilities=ALL)
    for _ in range(turns):
        reader, writer = os.pipe2(os.O_CLOEXEC)
        entered = Called(verb("exec", "one", *words), stdin=reader)
        os.close(reader)
        until(lambda: "HELD" in seeking.said() or "NONE" in seeking.said() or entered.ended() is not None,
              "nobody looks")
        os.close(writer)
        entered.wait()
        if "HELD" in seeking.said():
            break
    if "HELD" not in seeking.said():
        denied(f"the runtime was not seen: {entered.said()}")
    until(lambda: len(seeking.said().splitlines()) > 1, "it says nothing")
    if digest() == before:
        denied(seeking.said())


@against
def held_while_it_joins():
    """Whatever is run: what joins is the runtime for a moment."""
    overwritten(PYTHON, "-I", "-c", "pass", turns=20)


@against
def run_by_its_link():
    overwritten("/proc/self/exe", *HOLD)


@against
def run_by_a_script():
    script = f"{YARD}/rootfs/script"
    bundle(SEEK)
    with open(script, "w") as file:
        file.write(SCRIPT)
    os.chmod(script, 0o755)
    overwritten("/script", *(["--resources", "-"] if BUNTIME else []))
