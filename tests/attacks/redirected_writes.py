"""Line 5. Has what the runtime writes to /proc land in another file: by a mount, a false /proc, a link, a hook, a name."""

TEXT, SYSCTL = "12345", "kernel.msgmax"
PATH = SYSCTL.replace(".", "/")
# What is written over, so that the canary itself is as it was.
TRAP = f"{GROUND}/outside/trap"
COVERS = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
sys.exit(libc.mount(sys.argv[1].encode(), sys.argv[2].encode(), None, 0x1000, None) != 0)
"""


def trapped(change):
    """Whether the value has come to the trap, which lies outside. The container may run for all that."""
    with open(TRAP, "w"):
        pass

    def whole(spec):
        spec["linux"]["sysctl"] = {SYSCTL: TEXT}
        change(spec)

    try:
        said = run("print('it ran')", whole).said()
        with open(TRAP) as file:
            if TEXT not in file.read():
                denied(said)
    finally:
        os.unlink(TRAP)


def false_proc():
    """A folder that looks like the part of /proc that is written to."""
    for path in (PATH, "x"):
        os.makedirs(os.path.dirname(f"{YARD}/false/sys/{path}"), exist_ok=True)
    os.link(TRAP, f"{YARD}/false/sys/{PATH}")
    os.makedirs(f"{YARD}/false/self/attr")
    for name in ("oom_score_adj", "attr/exec", "attr/keycreate"):
        os.link(TRAP, f"{YARD}/false/self/{name}")
    return f"{YARD}/false"


@against
def sysctl_under_a_mount():
    trapped(lambda spec: spec["mounts"].append(bound(TRAP, f"/proc/sys/{PATH}", "rw")))


@against
def sysctl_under_a_mounted_folder():
    trapped(lambda spec: spec["mounts"].append(bound(f"{false_proc()}/sys", "/proc/sys", "rw")))


@against
def sysctl_in_a_false_proc():
    trapped(lambda spec: spec["mounts"].append(bound(false_proc(), "/proc", "rw")))


@against
def sysctl_in_a_proc_behind_a_link():
    def change(spec):
        os.rename(false_proc(), f"{YARD}/rootfs/false")
        os.rmdir(f"{YARD}/rootfs/proc")
        os.symlink("/false", f"{YARD}/rootfs/proc")
        spec["mounts"].remove(PROC)

    trapped(change)


@against
def sysctl_under_what_a_hook_mounts():
    def change(spec):
        words = [PYTHON, "-I", "-c", COVERS, TRAP, f"{YARD}/rootfs/proc/sys/{PATH}"]
        spec["hooks"] = {"createContainer": [{"path": PYTHON, "args": words}]}

    trapped(change)


@against
def sysctl_of_another_name():
    """Its name leads to a file that is shown inside."""
    def change(spec):
        spec["mounts"].append(bound(f"{GROUND}/outside", "/shown", "rw"))
        spec["linux"]["sysctl"] = {"kernel/../../../shown/trap": TEXT}

    trapped(change)


@against
def score_in_a_false_proc():
    def change(spec):
        del spec["linux"]["sysctl"]
        spec["process"]["oomScoreAdj"] = int(TEXT) % 1000
        spec["mounts"].append(bound(false_proc(), "/proc", "rw"))

    global TEXT
    TEXT = "345"
    trapped(change)


def has_labels():
    if BUNTIME and not os.path.exists("/sys/fs/selinux/enforce"):
        raise NotAttempted("this host has no SELinux, and a label is refused")


@against
def label_in_a_false_proc():
    has_labels()

    def change(spec):
        del spec["linux"]["sysctl"]
        spec["process"]["selinuxLabel"] = TEXT
        spec["mounts"].append(bound(false_proc(), "/proc", "rw"))

    trapped(change)


@against
def label_under_what_a_hook_mounts():
    has_labels()

    def change(spec):
        del spec["linux"]["sysctl"]
        spec["process"]["selinuxLabel"] = TEXT
        for name in ("self", "1", "thread-self"):
            words = [PYTHON, "-I", "-c", COVERS, TRAP, f"{YARD}/rootfs/proc/{name}/attr/exec"]
            spec.setdefault("hooks", {}).setdefault("createContainer", []).append({"path": PYTHON, "args": words})

    trapped(change)
