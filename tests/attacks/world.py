"""A network of its own for one attack, in namespaces that are thrown away: names, servers and a resolver, on
addresses that lead to this very machine and to nothing beyond. The program of the attack runs in it once for
each policy: outside as it is, beside a way out that is careless; inside by Buntime, whose supervisor lives
there. What was seen to arrive where it must not counts, whatever the program says of it."""

import json
import subprocess

GROUND, BUNTIME, PYTHON = "@GROUND@", "@BUNTIME@", os.path.realpath(sys.executable)
POLICIES = json.loads(r"""@POLICIES@""")
PROGRAM = f"{GROUND}/program.py"
# A folder that policies show, whose name is short enough for sockets.
SHOWN = "/run/granted"
LOCAL = ("45.80.0.0/24", "10.9.0.0/24", "169.254.0.0/16", "168.63.129.16/32", "100.100.100.200/32", "2a0e:aaaa::/64",
         "fd00:9::/64", "fd00:ec2::/64", "fe80::/64", "64:ff9b::/96", "2002:2d50:51::/48")
UP, ACK, CREATE, INSIDE_OF_HOST = 1, 4, 0x400, 254
NEW_LINK, NEW_ADDRESS, NEW_ROUTE = 16, 20, 24
# The run that is under attack now, its policy, and the process that carries what leaves it.
NOW = {"name": "", "pid": os.getpid()}


def netlink(end, kind, message, *attributes):
    """One request to the kernel, and its answer. That it knows no newer version of IP is one too."""
    for number, data in attributes:
        message += struct.pack("=HH", 4 + len(data), number) + data + bytes(-len(data) % 4)
    end.send(struct.pack("=IHHII", 16 + len(message), kind, 1 | ACK | CREATE, 0, 0) + message)
    (error,) = struct.unpack("=i", end.recv(65536)[16:20])
    if error and message[0] != socket.AF_INET6:
        raise OSError(-error, os.strerror(-error))


def network():
    """The loopback is the only link, and leads to everything that there is."""
    index = struct.pack("=i", socket.if_nametoindex("lo"))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as end:
        netlink(end, NEW_LINK, struct.pack("=BxHiII", 0, 0, 1, UP, UP))
        for where in LOCAL:
            where, bits = where.split("/")
            family = socket.AF_INET6 if ":" in where else socket.AF_INET
            route = struct.pack("=BBBBBBBBI", family, int(bits), 0, 0, 255, 4, INSIDE_OF_HOST, 2, 0)
            netlink(end, NEW_ROUTE, route, (1, socket.inet_pton(family, where)), (4, index))
        for where in OWN_AT:
            family = socket.AF_INET6 if ":" in where else socket.AF_INET
            packed = socket.inet_pton(family, where)
            address = struct.pack("=BBBBI", family, len(packed) * 8, 2, 0, 1)
            netlink(end, NEW_ADDRESS, address, (2, packed), (1, packed))


def files():
    """Where runs are found, and which resolver and hosts there are."""
    real = os.path.realpath("/etc/resolv.conf")
    checked(LIBC.mount(b"tmpfs", b"/run", b"tmpfs", 0, None))
    for path, text in ((real, f"nameserver {RESOLVER_AT if BUNTIME else STUB[0]}\n"),
                       (os.path.realpath("/etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n")):
        own = f"{GROUND}/{os.path.basename(path)}"
        with open(own, "w") as file:
            file.write(text)
        os.chmod(own, 0o644)
        if path.startswith("/run/"):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            open(path, "w").close()
        checked(LIBC.mount(own.encode(), path.encode(), None, 0x1000, None))


class Helm(socketserver.BaseRequestHandler):
    """Does what an attack needs to be done outside."""

    def handle(self):
        with self.request.makefile("rw") as said:
            order, _, what = said.readline().strip().partition(" ")
            try:
                answer = ORDERS[order](what)
            except (OSError, subprocess.SubprocessError, KeyError) as error:
                answer = f"unable: {type(error).__name__} {error}"
            said.write(answer.replace("\n", " ") + "\n")


def resident():
    """KiB of the process that carries everything."""
    with open(f"/proc/{NOW['pid']}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def memory(order):
    """From the beginning on it is looked at how much there is, and the end says how much more it was at most."""
    if order == "end":
        NOW["looks"] = False
        return str(NOW["most"] - NOW["least"])
    NOW.update(looks=True, least=resident(), most=0)

    def look():
        while NOW["looks"]:
            NOW["most"] = max(NOW["most"], resident())
            time.sleep(0.01)

    threading.Thread(target=look, daemon=True).start()
    return "done"


def another_policy(label):
    """The run that goes on has this policy from now on."""
    read_policy(json.loads(POLICIES["others"][label]))
    if BUNTIME:
        words = [BUNTIME, "policy", "reload", NOW["name"], written(label, POLICIES["others"][label])]
        done = subprocess.run(words, capture_output=True, text=True, timeout=20)
        if done.returncode:
            return f"unable: {done.stderr}"
    return "done"


ORDERS = {"memory": memory, "policy": another_policy}


def written(label, policy):
    path = f"{GROUND}/policy-{label}.json"
    with open(path, "w") as file:
        file.write(policy)
    return path


def words(label, policy):
    """How the program of the attack is run."""
    allows = any(rule.get("host") == HELM for rule in json.loads(policy).get("net", {}).get("rules", []))
    with open(PROGRAM) as file:
        text = file.read().replace("@OUTSIDE@", "no" if BUNTIME else "yes")
    text = text.replace("@ALLOWS@", "yes" if allows else "no")
    if not BUNTIME:
        return [PYTHON, "-I", "-c", text]
    NOW["name"] = f"attacked-{len(label)}-{os.getpid()}"
    return [BUNTIME, "run", "--quiet", "--python", PYTHON, "--timeout", "100", "--name", NOW["name"],
            "--policy", written(label, policy), "-c", text]


def neighbour():
    """Another sandbox, where somebody listens; and what a supervisor has, outside of every one."""
    code = """
import socket, threading
ends = [socket.create_server(("0.0.0.0", 7777)), socket.socket(socket.AF_UNIX)]
ends[1].bind("\\0neighbour")
ends[1].listen()
def greet(end):
    while True:
        one, _ = end.accept()
        one.sendall(b"hello @MARK@")
        one.close()
for end in ends:
    threading.Thread(target=greet, args=(end,)).start()
print("ready", flush=True)
"""
    start = [PYTHON, "-I", "-c", code]
    if BUNTIME:
        start = [BUNTIME, "run", "--quiet", "--python", PYTHON, "-c", code]
    started = subprocess.Popen(start, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    if started.stdout.readline() != b"ready\n":
        print("no neighbour: it does not start", flush=True)
        os._exit(77)
    return started


def sockets():
    """Of the host: on its loopback, without a file, and in folders that a policy may show."""
    class Greeting(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.sendall(b"hello " + MARK)

    serve(Listening, ("127.0.0.1", 8800), Greeting)
    serve(Local, "\0attacked", Greeting)
    os.makedirs("/run/buntime-runs", 0o700, exist_ok=True)
    os.makedirs(SHOWN)
    for path, handler in (("/run/buntime-runs/another", Greeting), (f"{SHOWN}/stream.sock", Greeting),
                          (f"{SHOWN}/docker.sock", Forbidden), (f"{SHOWN}/handing.sock", Handing)):
        serve(Local, path, handler)
        os.chmod(path, 0o777)
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(f"{SHOWN}/datagram.sock")
    os.chmod(f"{SHOWN}/datagram.sock", 0o777)
    threading.Thread(target=lambda: [None for _ in iter(lambda: receiver.recv(8), None)], daemon=True).start()


def multicast():
    """Who asks for names of the link is heard."""
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind(("224.0.0.251", 5353))
    end.setsockopt(socket.SOL_IP, socket.IP_ADD_MEMBERSHIP,
                   struct.pack("=4s4si", socket.inet_aton("224.0.0.251"), bytes(4), socket.if_nametoindex("lo")))

    def hear():
        while True:
            seen(end.recv(65536))

    threading.Thread(target=hear, daemon=True).start()


def tried(label, policy):
    """Runs the program under a policy, and prints how each attempt of it has ended."""
    SEEN.clear()
    read_policy(json.loads(policy))
    done = subprocess.Popen(words(label, policy), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    NOW["pid"] = done.pid if BUNTIME else os.getpid()
    said = done.communicate()[0].decode("utf-8", "replace")
    # What is under way arrives.
    time.sleep(0.2)
    for line in said.splitlines():
        name, parted, end = line.partition(": ")
        if parted:
            end = "SUCCEEDED" if name in SEEN else end
            print(f"{label} {name}: {end}" if label else f"{name}: {end}", flush=True)
    return done.returncode


def world():
    enter_groups("@GROUP@")
    try:
        network()
        files()
        serve_all()
        serve(Listening, (HELM_AT, HELM_PORT), Helm)
        sockets()
    except OSError as error:
        print(f"no network of its own: {error}", flush=True)
        os._exit(77)
    try:
        multicast()
    except OSError as error:
        print("no multicast:", error, file=sys.stderr)
    other = neighbour() if POLICIES["neighbour"] else None
    if not BUNTIME:
        serve_carelessly()
    codes = [tried(label, policy) for label, policy in POLICIES["each"].items()]
    if other:
        other.terminate()
        other.wait(10)
    sys.stdout.flush()
    os._exit(max(codes))


world()
