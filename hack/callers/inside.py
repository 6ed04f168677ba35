"""Scripts for the shell of a container that tell how it looks from inside, and their answers made
comparable: what a program can rely on stays, what only names this run or the runtime's way goes."""

import re

MOUNTS = "cat /proc/self/mountinfo"
STATUS = ("grep -E '^(Umask|Uid|Gid|Groups|NSpid|NSpgid|NSsid|Threads|Sig[BIC]|Cap|NoNewPrivs|Seccomp)' "
          "/proc/1/status; cat /proc/self/limits; env | sort; ls /proc/self/fd; cat /proc/1/oom_score_adj")
# Names, types, owners and numbers of devices; not when they were made, nor the sizes.
DEVICES = "cd /dev; for f in $(find . | sort); do stat -c '%N %A %u %g %t %T' $f; done"
# What the terminal's size settles to: a client sets it just after the start.
TERMINAL = "until stty size 2>/dev/null | grep -q '33 97'; do sleep 0.05; done; tty; stty size; "


def mounts(text):
    """Mount point, flags and type of each mount, sorted; of what masks a path, only that it does."""
    found = set()
    for line in text.splitlines():
        own, _, superblock = line.partition(" - ")
        _, _, _, root, place, flags, *_ = own.split()
        kind = superblock.split()[0]
        if place.startswith(("/proc/", "/sys/")) and kind in ("tmpfs", "devtmpfs") and "cgroup" not in place:
            found.add(f"{place} masked")
            continue
        if place.startswith("/dev/") and kind == "devtmpfs":
            # Nothing is executed from a node of a device.
            found.add(f"{place} a device of the host")
            continue
        flags = ",".join(sorted(set(flags.split(",")) - {"relatime"}))
        # A file of the host that is bound has a root other than the whole of its filesystem.
        found.add(f"{place} {kind} {flags}" + (" (bound)" if root != "/" and kind == "tmpfs" else ""))
    return "\n".join(sorted(found))


def without_names(text):
    """Without identifiers of containers and the name of the group that all are in."""
    text = re.sub(r"[0-9a-f]{64}", "ID", text)
    return re.sub(r"/integration-\d+", "", text)
