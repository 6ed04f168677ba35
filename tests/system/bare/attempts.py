"""What a worker without namespaces shares with its user, and must not reach all the same. The
attempts run one after another in this process, since such a worker can start no other; each
leaves things as they were, or changes only what is its own to lose."""

import fcntl
import resource
import socket
import tempfile

VICTIM = @VICTIM@
PORT = @PORT@
HOME = "@HOME@"
ABSTRACT = "@ABSTRACT@"
SECRET = HOME + "/.ssh/id_ed25519"
OWN = HOME + "/own"
SOCKET = HOME + "/stream.sock"
DATAGRAMS = HOME + "/datagram.sock"
GRANTED = HOME + "/granted/file"
LOADER = "/lib64/ld-linux-x86-64.so.2"

SYSCALLS.update({
    "shmget": 29, "shmctl": 31, "semget": 64, "semctl": 66, "msgget": 68, "msgctl": 71,
    "fcntl": 72, "chmod": 90, "fchmod": 91, "chown": 92, "getpriority": 140, "setpriority": 141,
    "sched_setscheduler": 144, "tkill": 200, "sched_setaffinity": 203, "clock_gettime": 228,
    "mq_open": 240, "ioprio_set": 251, "inotify_init1": 294, "inotify_add_watch": 254,
    "get_robust_list": 274, "prlimit64": 302, "kcmp": 312, "vfork": 58, "getpgid": 121,
    "utimensat": 280, "getxattr": 191, "listxattr": 194, "capget": 125, "fchmodat2": 452,
    "sched_getaffinity": 204, "exit": 60, "linkat": 265,
})


# Files.

@attempt
def api_read_a_secret():
    with open(SECRET) as file:
        file.read()


@attempt
def raw_read_a_secret():
    os.close(syscall("open", SECRET.encode(), 0, 0))


@attempt
def api_list_the_home():
    os.listdir(HOME)


@attempt
def raw_watch_the_home():
    descriptor = syscall("inotify_init1", 0)
    syscall("inotify_add_watch", descriptor, HOME.encode(), 0x100)


@attempt
def api_write_an_own_file():
    with open(OWN, "a"):
        pass


@attempt
def api_create_in_tmp():
    path = f"/tmp/test-attack-{os.getpid()}"
    with open(path, "w"):
        pass
    os.unlink(path)


@attempt
def raw_truncate_what_may_be_read():
    syscall("truncate", GRANTED.encode(), 7)


@attempt
def api_truncate_by_opening():
    os.close(os.open(GRANTED, os.O_RDONLY | os.O_TRUNC))


@attempt
def api_chmod():
    os.chmod(OWN, 0o640)


@attempt
def raw_chmod():
    syscall("chmod", OWN.encode(), 0o640)


@attempt
def raw_fchmodat2():
    syscall("fchmodat2", AT_FDCWD, OWN.encode(), 0o640, 0)


@attempt
def api_fchmod_what_may_be_read():
    os.fchmod(os.open(GRANTED, os.O_RDONLY), 0o640)


@attempt
def api_chown():
    os.chown(OWN, os.getuid(), os.getgid())


@attempt
def api_utime():
    os.utime(OWN)


@attempt
def raw_utime_of_what_may_be_read():
    syscall("utimensat", os.open(GRANTED, os.O_RDONLY), 0, 0, 0)


@attempt
def raw_list_attributes():
    syscall("listxattr", SECRET.encode(), 0, 0)


@attempt
def api_link():
    place = tempfile.mkdtemp()
    os.link(SECRET, place + "/link")
    os.unlink(place + "/link")


@attempt
def api_rename():
    place = tempfile.mkdtemp()
    os.rename(OWN, place + "/own")
    os.rename(place + "/own", OWN)


@attempt
def api_terminal():
    os.close(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))


@attempt
def api_lease_on_what_may_be_read():
    descriptor = os.open(GRANTED, os.O_RDONLY)
    fcntl.fcntl(descriptor, 1024, fcntl.F_RDLCK)
    os.close(descriptor)


# Processes. SIGCONT changes nothing for one that runs.

@attempt
def api_kill():
    os.kill(VICTIM, signal.SIGCONT)


@attempt
def api_exists():
    os.kill(VICTIM, 0)


@attempt
def api_killpg():
    os.killpg(VICTIM, signal.SIGCONT)


@attempt
def raw_tgkill():
    syscall("tgkill", VICTIM, VICTIM, signal.SIGCONT)


@attempt
def raw_tkill():
    syscall("tkill", VICTIM, signal.SIGCONT)


@attempt
def raw_sigqueue():
    syscall("rt_sigqueueinfo", VICTIM, 18,
            struct.pack("=iiiiII", 18, 0, -1, 0, os.getpid(), 0) + bytes(104))


@attempt
def raw_pidfd():
    syscall("pidfd_send_signal", syscall("pidfd_open", VICTIM, 0), 18, 0, 0)


@attempt
def api_pidfd_by_proc():
    syscall("pidfd_send_signal", os.open(f"/proc/{VICTIM}", os.O_DIRECTORY), 18, 0, 0)


@attempt
def raw_signal_by_a_descriptor():
    reader, _ = os.pipe()
    syscall("fcntl", reader, 8, VICTIM)


@attempt
def raw_ptrace():
    syscall("ptrace", 0x4206, VICTIM, 0, 0)
    syscall("ptrace", 0x4207, VICTIM, 0, 0)
    os.waitpid(VICTIM, 0x40000000)
    syscall("ptrace", 17, VICTIM, 0, 0)


@attempt
def raw_read_memory():
    # What is there to be read does not matter: EFAULT is for one who may.
    ours = ctypes.create_string_buffer(8)
    vector = (ctypes.c_uint64 * 2)(ctypes.addressof(ours), 8)
    there = (ctypes.c_uint64 * 2)(4096, 8)
    try:
        syscall("process_vm_readv", VICTIM, vector, 1, there, 1, 0)
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise


@attempt
def api_environment():
    with open(f"/proc/{VICTIM}/environ", "rb") as file:
        file.read()


@attempt
def api_memory():
    with open(f"/proc/{VICTIM}/mem", "r+b"):
        pass


@attempt
def raw_take_a_descriptor():
    syscall("pidfd_getfd", syscall("pidfd_open", VICTIM, 0), 0, 0)


@attempt
def raw_robust_list():
    head, length = ctypes.c_void_p(), ctypes.c_size_t()
    syscall("get_robust_list", VICTIM, ctypes.byref(head), ctypes.byref(length))


@attempt
def raw_kcmp():
    syscall("kcmp", os.getpid(), VICTIM, 0, 0, 0)


@attempt
def raw_setpriority():
    syscall("setpriority", 0, VICTIM, 19)


@attempt
def raw_getpriority_of_the_user():
    syscall("getpriority", 2, os.getuid())


@attempt
def raw_ioprio():
    syscall("ioprio_set", 1, VICTIM, 3 << 13)


@attempt
def raw_affinity():
    mask = ctypes.create_string_buffer(b"\xff" * 128, 128)
    syscall("sched_setaffinity", VICTIM, 128, mask)


@attempt
def raw_affinity_is_told():
    syscall("sched_getaffinity", VICTIM, 128, ctypes.create_string_buffer(128))


@attempt
def raw_scheduler():
    syscall("sched_setscheduler", VICTIM, 3, struct.pack("i", 0))


@attempt
def raw_prlimit():
    syscall("prlimit64", VICTIM, 7, struct.pack("QQ", 900, 900), 0)


@attempt
def raw_getpgid():
    syscall("getpgid", VICTIM)


@attempt
def raw_capabilities_are_told():
    syscall("capget", struct.pack("=Ii", 0x20080522, VICTIM), ctypes.create_string_buffer(24))


@attempt
def raw_clock_of_a_process():
    syscall("clock_gettime", (~VICTIM << 3) | 2, ctypes.create_string_buffer(16))


# New processes, which could outlive everything.

@attempt
def api_fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


@attempt
def api_leave_and_stay():
    child = os.fork()
    if child == 0:
        os.setsid()
        os._exit(0 if os.fork() else 0)
    os.waitpid(child, 0)


@attempt
def raw_clone():
    child = syscall("clone", 17, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


@attempt
def raw_outlive_the_parent():
    syscall("prctl", 1, 0, 0, 0, 0)


def executed(path, arguments):
    """Whether a child becomes the program; where there can be no child, this process tries."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        child = os.fork()
    except PermissionError:
        # Not by Python's own function, which asks the worker's hook first.
        words = [word.encode() for word in arguments]
        vector = (ctypes.c_char_p * (len(words) + 1))(*words, None)
        return syscall("execve", path.encode(), vector, (ctypes.c_char_p * 1)(None))
    if child == 0:
        os.dup2(os.open("/dev/null", os.O_RDWR), 1)
        try:
            os.execve(path, arguments, {})
        except OSError as error:
            os.write(writer, struct.pack("=i", error.errno))
        os._exit(0)
    os.close(writer)
    answer = os.read(reader, 4)
    os.waitpid(child, 0)
    if answer:
        raise OSError(struct.unpack("=i", answer)[0], "not executed")


@attempt
def api_execute():
    executed("/bin/true", ["true"])


@attempt
def api_execute_a_copy():
    path = tempfile.mkdtemp() + "/copy"
    with open(LOADER, "rb") as source, open(path, "wb") as copy:
        copy.write(source.read())
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fchmod(descriptor, 0o755)
    except OSError:
        pass
    # Made executable at once, where its mode may not be changed.
    other = os.open(path + "-x", os.O_CREAT | os.O_WRONLY, 0o755)
    with open(LOADER, "rb") as source:
        os.write(other, source.read())
    os.close(other)
    executed(path + "-x", ["copy", "--version"])


@attempt
def api_execute_memory():
    with open(LOADER, "rb") as source:
        content = source.read()
    descriptor = syscall("memfd_create", b"attack", 0)
    os.write(descriptor, content)
    executed(f"/proc/self/fd/{descriptor}", ["memory", "--version"])


@attempt
def api_execute_by_the_loader():
    executed(LOADER, ["ld.so", "/bin/true"])


@attempt
def api_execute_the_interpreter_again():
    executed(os.path.realpath(sys.executable), ["python3", "-c", "pass"])


@attempt
def raw_memory_file():
    os.close(syscall("memfd_create", b"attack", 0))


# The network, and what is like it.

@attempt
def api_connect():
    socket.create_connection(("127.0.0.1", PORT), timeout=5).close()


@attempt
def api_datagram():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", PORT))


@attempt
def api_socket_by_path():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(SOCKET)


@attempt
def api_abstract_socket():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("\0" + ABSTRACT)


@attempt
def api_datagram_by_a_pair():
    pair, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    pair.sendto(b"x", DATAGRAMS)


@attempt
def raw_take_an_abstract_name():
    pair, _ = socket.socketpair()
    address = struct.pack("=H", 1) + b"\0attack-" + str(os.getpid()).encode()
    SYSCALLS["bind"] = 49
    syscall("bind", pair.fileno(), address, len(address))


@attempt
def api_netlink():
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)


# Objects that all processes of a user share.

@attempt
def raw_shared_memory():
    syscall("shmctl", syscall("shmget", 0, 4096, 0o1600), 0, 0)


@attempt
def raw_semaphores():
    syscall("semctl", syscall("semget", 0, 1, 0o1600), 0, 0, 0)


@attempt
def raw_messages():
    syscall("msgctl", syscall("msgget", 0, 0o1600), 0, 0)


@attempt
def raw_message_queue():
    name = b"attack-%d" % os.getpid()
    os.close(syscall("mq_open", name, 0o102, 0o600, 0))
    SYSCALLS["mq_unlink"] = 241
    syscall("mq_unlink", name)


@attempt
def api_shared_file():
    path = f"/dev/shm/test-attack-{os.getpid()}"
    with open(path, "w"):
        pass
    os.unlink(path)


def in_child(function):
    """In this process: the prelude's own takes one more."""
    try:
        function()
    except NotReached as error:
        return "NOT REACHED " + str(error)
    except OSError as error:
        return "denied " + errno.errorcode.get(error.errno, str(error.errno))
    except BaseException as error:
        return f"BROKEN {type(error).__name__}: {error}"
    return "SUCCEEDED"
