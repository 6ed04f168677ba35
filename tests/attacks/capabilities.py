"""Lines 16, 17. Has a capability, or gets one: by asking, by becoming root, by a program that grants it."""

import subprocess


def own(field):
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1], 16)
    raise NotReached(field)


def define(field):
    def api():
        if own(field) == 0:
            raise PermissionError(errno.EPERM, "empty")

    api.__name__ = f"api_has_{field}"
    attempt(api)


for field in ("CapPrm", "CapEff", "CapBnd"):
    define(field)


@attempt
def api_setuid_root():
    # By number, since what the sandbox calls root need not be the host's.
    os.setresuid(0, 0, 0)


@attempt
def api_setgid_root():
    os.setresgid(0, 0, 0)


@attempt
def api_setgroups():
    os.setgroups([0])


@attempt
def raw_setuid_root():
    syscall("setuid", 0)


@attempt
def raw_capset():
    # Effective := permitted, with CAP_CHOWN asked for in both.
    header = struct.pack("=Ii", 0x20080522, 0)
    data = struct.pack("=IIIIII", 1, 1, 0, 0, 0, 0)
    syscall("capset", header, data)


@attempt
def raw_ambient():
    # Inheritable first, as an ambient capability must be.
    syscall("capset", struct.pack("=Ii", 0x20080522, 0), struct.pack("=IIIIII", 1, 1, 1, 0, 0, 0))
    syscall("prctl", 47, 2, 0, 0, 0)


@attempt
def api_new_privileges():
    with open("/proc/self/status") as file:
        if "NoNewPrivs:\t1" in file.read():
            raise PermissionError(errno.EPERM, "a program cannot give any")
