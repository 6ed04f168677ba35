"""Line 38. Reaches another sandbox that listens, the supervisor, and what the host has for other runs.

The other sandbox is one of the same person, on the same host, beside this one."""

PORT = 7777


def greeted(end):
    with end:
        if MARK not in heard(end, patience=2):
            refused("nobody of another sandbox greets")


def neighbour(host, port=PORT):
    greeted(direct(host, port))


for name, host in (("loopback", "127.0.0.1"), ("another_loopback", "127.0.0.77"), ("any", "0.0.0.0"),
                   ("mapped", "::ffff:127.0.0.1"), ("the_host_s_address", OWN_AT[0])):
    define(f"direct_neighbour_by_{name}", neighbour, host)
    define(f"connect_neighbour_by_{name}", lambda host: greeted(by_connect(host, PORT)), host)
    define(f"socks_neighbour_by_{name}", lambda host: greeted(by_socks(host, PORT)), host)


def local(name):
    end = socket.socket(socket.AF_UNIX)
    end.settimeout(2)
    end.connect(name)
    greeted(end)


define("neighbour_without_a_file", local, "\0neighbour")
define("host_without_a_file", local, "\0attacked")


@reach
def raw_neighbour_without_a_file():
    descriptor = syscall("socket", 1, 1, 0)
    address = struct.pack("=H", 1) + b"\0neighbour"
    syscall("connect", descriptor, address, len(address))
    greeted(socket.socket(fileno=descriptor))


@reach
def every_name_that_is_seen():
    """Abstract sockets of whoever shares the network."""
    with open("/proc/net/unix") as table:
        names = {line.split()[7] for line in table if line.count("@") and len(line.split()) > 7}
    for name in names:
        try:
            return local("\0" + name[1:])
        except OSError:
            pass
    refused(f"none of {len(names)} greets")


@reach
def where_runs_are_found():
    """Whoever reaches a run's own socket gives it another policy."""
    for folder in ("/run/buntime-runs", "/run/buntime", f"/run/user/{os.getuid()}/buntime-runs"):
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            try:
                return local(f"{folder}/{name}")
            except OSError:
                pass
    refused("no run is found")


@reach
def host_s_loopback():
    greeted(direct("127.0.0.1", 8800))


@reach
def host_s_loopback_by_its_name():
    greeted(by_connect("host.buntime.internal", 8800))


@reach
def listeners_that_are_seen():
    with open("/proc/net/tcp") as table:
        if f":{PORT:04X} " not in table.read():
            refused("the other's listener is not in this network")


@reach
def addresses_of_names_of_another():
    """Addresses that stand for names stand for those of one sandbox: what nobody has asked for leads nowhere."""
    if "@OUTSIDE@" == "yes":
        return
    for number in range(1, 4):
        for host in (f"198.18.0.{number}", f"fd62:756e:7469:6d65::{number}"):
            tell(direct(host, 80), request())
