"""Line 10. Writes to the control groups that a container is shown, and to a release agent there."""

GROUPS = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
          "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
SYS = {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
# The folders of hierarchies, and of the groups in them.
HEAD = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
tops = [line.split()[4] for line in open("/proc/self/mountinfo") if " - cgroup" in line]
own = {line.strip().split(":")[2] for line in open("/proc/self/cgroup")}
print("SHOWN" if tops else "NONE")
def opened(name):
    for top in tops:
        for path in [top] + [top + group for group in own]:
            try:
                os.close(os.open(f"{path}/{name}", os.O_WRONLY))
                print("OPENED", path)
                return
            except OSError as error:
                print(path, name, error)
"""


def within(program, capabilities=FEW, namespaces=()):
    def change(spec):
        spec["mounts"] += [SYS, GROUPS]
        spec["linux"]["namespaces"] += [{"type": kind} for kind in namespaces]

    said = run(HEAD + program, change, capabilities=capabilities).said()
    if "SHOWN" not in said and "NONE" not in said:
        raise NotReached(said)
    if "OPENED" not in said:
        denied(said)


@against
def release_agent():
    within("opened('release_agent')")


@against
def notice_of_release():
    within("opened('notify_on_release')")


@against
def groups_of_others():
    within("opened('cgroup.procs')")


@against
def devices():
    within("opened('devices.allow')")


@against
def groups_in_a_namespace_of_their_own():
    within("opened('cgroup.procs')", namespaces=["cgroup"])


@against
def new_groups():
    within("""
for top in tops:
    try:
        os.mkdir(top + "/attempt")
        os.rmdir(top + "/attempt")
        print("OPENED")
        break
    except OSError as error:
        print(error)
""")


@against
def remounted():
    within("""
for top in tops:
    if libc.mount(None, top.encode(), None, 0x20 | 0x1000, None) == 0:
        opened("cgroup.procs")
""")
