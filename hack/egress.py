"""What the egress plane costs, beside proxies that others use and beside no proxy at all.

A connection with one small request of HTTP, whose time a client takes that makes a thousand of them in
one process (examples/traffic); the bytes of one large transfer; a thousand connections that are held; and
what a policy that permits a host adds to the start of a run. Server, proxies and clients are in a network
namespace of the benchmark's own, with a name that only /etc/hosts there knows (proxies.py).

Directly it is no proxy and no sandbox: what each figure is compared with. Each of Buntime's ways is one
of a program in `buntime run`, under a policy that permits the host by its name and by its address.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import proxies
from proxies import ADDRESS, COPYING, NAME, PORTS, SQUID, TINYPROXY
from rounds import Cannot, drawn, measured, table

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}
DIRECT = "direct"
# What a program inside finds as http_proxy.
PLANE = "127.0.0.1:8080"
REQUESTS = 1000
MIB, GIB = 1 << 20, 1 << 30
# What Buntime and squid hold a thousand connections with.
DESCRIPTORS = 16384
# On one processor there is none of what waking another costs.
PLACES = [("", None), (", all on one processor", 0)]
ALIKE = ("buntime, to an address", "buntime, to a name, recorded", "buntime, SOCKS5")


class Way:
    """A way to the server: the words before the client, how it goes, and to what."""

    def __init__(self, words, by, host, process=None):
        self.words, self.by, self.host, self.process = words, by, host, process

    def command(self, traffic, what, number):
        return [*self.words, traffic, self.by, self.host, what, str(number)]


def policy(folder, name, *rules):
    """A file with a policy of these rules about the network, under which every program may run."""
    path = os.path.join(folder, name + ".json")
    with open(path, "w") as file:
        json.dump({"version": 1, "defaults": {"fs": "deny", "net": "deny", "exec": "allow"},
                   "net": {"rules": rules}}, file)
    return path


def sandboxes(folder, binary):
    """The words before a program: with a network, with one whose decisions are recorded, and without."""
    by_name = {"action": "allow", "host": NAME}
    # The address is the host's own, which a rule has to name.
    by_address = {"action": "allow", "cidr": ADDRESS + "/32"}
    some, none = policy(folder, "some", by_name, by_address), policy(folder, "none")
    words = [binary, "run", "--quiet", "--files", str(DESCRIPTORS), "--policy"]
    events = ["--events", os.path.join(folder, "events")]
    return [*words, some, "--"], [*words, some, *events, "--"], [*words, none, "--"]


def ways(sandboxed, recorded, started):
    """Every way by its name."""
    found = {DIRECT: Way([], "direct", NAME),
             "buntime, to an address": Way(sandboxed, "direct", ADDRESS),
             "buntime, to a name": Way(sandboxed, "direct", NAME),
             "buntime, to a name, recorded": Way(recorded, "direct", NAME),
             "buntime, HTTP proxy": Way(sandboxed, "http=" + PLANE, NAME),
             "buntime, CONNECT": Way(sandboxed, "connect=" + PLANE, NAME),
             "buntime, SOCKS5": Way(sandboxed, "socks=" + PLANE, NAME)}
    for name, process in started.items():
        proxy = f"127.0.0.1:{PORTS[name]}"
        found[name + ", HTTP proxy"] = Way([], "http=" + proxy, NAME, process)
        found[name + ", CONNECT"] = Way([], "connect=" + proxy, NAME, process)
    return found


def must(name):
    """Whether one has to be able to."""
    return name.startswith((DIRECT, "buntime"))


def run(command):
    """The number that it prints."""
    done = subprocess.run(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=300, text=True)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Cannot(said[-1] if said else f"status {done.returncode}")
    return int(done.stdout)


def pin(processes, processor):
    """Has every thread of them run on this processor, or on any."""
    where = range(os.cpu_count()) if processor is None else [processor]
    for process in processes:
        for thread in os.listdir(f"/proc/{process.pid}/task"):
            os.sched_setaffinity(int(thread), where)


def latencies(options, traffic, found, servers):
    """Prints what one connection takes."""
    for what, said in (("request", "one small request of HTTP"), ("echo", "a byte each way, no HTTP")):
        for where, processor in PLACES:
            pin(servers, processor)
            pinned = [] if processor is None else ["taskset", "--cpu-list", str(processor)]
            taken = measured(options.runs, carrying(found, what), lambda way, what=what, pinned=pinned: run(
                [*pinned, *way.command(traffic, what, REQUESTS)]) / 1000, must)
            title = (f"a connection and {said}{where}, µs, "
                     f"{options.runs} interleaved runs of {REQUESTS} each")
            print(table(title, taken, [DIRECT], over=DIRECT), flush=True)
    pin(servers, None)


def carrying(found, what):
    """The ways that can be tried: what is no HTTP goes by no proxy that takes requests."""
    is_http = what in ("request", "download", "upload")
    return {name: way for name, way in found.items() if is_http or not way.by.startswith("http=")}


def transfers(options, traffic, found):
    """Prints how many bytes pass in a second."""
    runs = max(2, options.runs // 3)
    # The others of Buntime's ways go on as these do.
    found = {name: way for name, way in found.items() if name not in ALIKE}
    for what, said in (("download", "from the server by HTTP"), ("upload", "to the server by HTTP"),
                       ("stream", "from the server, no HTTP"), ("push", "to the server, no HTTP")):
        taken = measured(runs, carrying(found, what), lambda way, what=what: options.bytes / MIB / (run(
            way.command(traffic, what, options.bytes)) / 1e9), must, before=0)
        title = f"{options.bytes / GIB:g} GiB {said}, MiB/s, {runs} interleaved runs of each"
        print(table(title, taken, [DIRECT], highest_first=True), flush=True)


def memory(pid):
    """KiB of a process that are its own or its share, and its descriptors."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        share = next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
    return share, len(os.listdir(f"/proc/{pid}/fd"))


class Held:
    """Connections of one way that are held by a client."""

    def __init__(self, way, traffic, count):
        self.count = count
        self.client = subprocess.Popen(way.command(traffic, "hold", count), env=ENVIRONMENT, text=True,
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process = way.process or self.client
        self.expect("first")
        before = memory(process.pid)
        self.go_on()
        self.expect("held")
        self.each = [(after - earlier) / (count - 1) for earlier, after in zip(before, memory(process.pid))]

    def go_on(self):
        self.client.stdin.write("\n")
        self.client.stdin.flush()

    def expect(self, said):
        """Reads a line, which is to be this where it is to be one."""
        line = self.client.stdout.readline().strip()
        if said is not None and line != said or not line:
            why = self.client.communicate(timeout=60)[1].strip().splitlines()
            raise Cannot(why[-1] if why else f"it said {line!r}")
        return line

    def alive(self):
        """How many still carry a byte each way."""
        self.go_on()
        alive = int(self.expect(None))
        self.client.communicate(timeout=60)
        return alive


def holding(options, traffic, found):
    """Prints what held connections take, and how many of them live."""
    held, rows, whys = {}, [["", "KiB each", "descriptors each", "alive at the end"]], []
    for name, way in found.items():
        if name == DIRECT:
            continue
        try:
            held[name] = Held(way, traffic, options.connections)
        except Cannot as error:
            if must(name):
                raise SystemExit(f"{name}: {error}") from error
            whys.append(f"{name} cannot: {error}")
    time.sleep(options.seconds)
    for name, connections in held.items():
        share, descriptors = connections.each
        alive = connections.alive()
        if must(name) and alive != options.connections:
            raise SystemExit(f"{name}: of {options.connections} connections {alive} are alive")
        rows.append([name, f"{share:.1f}", f"{descriptors:.1f}", str(alive)])
    print(f"\n{options.connections} connections held for {options.seconds} s")
    print("\n".join([drawn(rows), *whys]), flush=True)


def started_programs(work, words):
    """What was executed from the start of a run to its end."""
    trace = os.path.join(work, "trace")
    subprocess.run(["strace", "-f", "-qq", "-e", "trace=execve,execveat", "-e", "signal=none", "-o", trace,
                    *words, "/usr/bin/true"], env=ENVIRONMENT, check=True, stdin=subprocess.DEVNULL)
    with open(trace) as file:
        return [line.split('"')[1] for line in file if '"' in line and line.rstrip().endswith("= 0")]


def starts(options, work, sandboxed, closed):
    """Prints what a network adds to a start."""
    def start(words):
        begun = time.perf_counter()
        subprocess.run([*words, "/usr/bin/true"], env=ENVIRONMENT, check=True, stdin=subprocess.DEVNULL)
        return (time.perf_counter() - begun) * 1000
    without, some = "buntime, no network", "buntime, one host permitted"
    runs = options.runs * 5
    taken = measured(runs, {without: closed, some: sandboxed}, start, must)
    print(table(f"buntime run -- true, ms, {runs} interleaved runs of each", taken, over=without))
    pairs = [after - before for before, after in zip(taken[without], taken[some])]
    print(f"the median of the differences in one round: {statistics.median(pairs):.2f} ms")
    for name, words in ((without, closed), (some, sandboxed)):
        programs = [os.path.basename(program) for program in started_programs(work, words)]
        print(f"programs that {name} executes: {', '.join(programs)}", flush=True)


def inside(options):
    """Measures, in namespaces of its own."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    # Not below /tmp, of which each sandbox has its own.
    with tempfile.TemporaryDirectory(prefix="egress-", dir="/var/tmp") as work:
        os.chmod(work, 0o755)
        binary, traffic = (shutil.copy(path, work) for path in programs(options))
        sandboxed, recorded, closed = sandboxes(work, binary)
        proxies.settle(work)
        server = proxies.serve(traffic)
        parts = {"requests": lambda found, servers: latencies(options, traffic, found, servers),
                 "transfers": lambda found, _: transfers(options, traffic, found),
                 "held": lambda found, _: holding(options, traffic, found),
                 "starts": lambda *_: starts(options, work, sandboxed, closed)}
        try:
            for name in options.part or parts:
                # What a proxy has had of memory it uses again, so each part has its own.
                started = proxies.start(work, options.bun)
                try:
                    parts[name](ways(sandboxed, recorded, started), [server, *started.values()])
                finally:
                    proxies.stop(started.values())
        finally:
            proxies.stop([server])


def programs(options):
    """The program that is measured, and the one that measures it."""
    return options.binary, os.path.join(os.path.dirname(options.binary), "examples", "traffic")


def main(options):
    if os.geteuid() != 0:
        raise SystemExit("hack/bench egress: only root can make a network of its own")
    for path in programs(options):
        if not os.access(path, os.X_OK):
            raise SystemExit(f"{path} is not there: "
                             "cargo build --release --locked --bin buntime --example traffic")
    options.bun = proxies.install()
    if options.inside:
        return inside(options)
    os.execvp("unshare", ["unshare", "--net", "--mount", "--propagation", "private", sys.executable,
                          *sys.argv, "--inside"])
