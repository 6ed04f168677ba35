"""Scenarios of Docker: what a container's life consists of."""

import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import enclosure

from .. import inside
from ..command import until
from . import SCENARIOS

expects = SCENARIOS.expects


@expects("0 hello")
def run(docker):
    return docker.run(["echo", "hello"])


@expects("42")
def exit_code(docker):
    return docker.run("exit 42")


@expects("0 'out\\n' 'err\\n'")
def two_streams(docker):
    done = docker.run("echo out; echo err >&2")
    return f"{done.status} {done.out!r} {done.err!r}"


@expects("0 5")
def standard_input(docker):
    return docker.run("--interactive", "wc -c", stdin="12345")


@expects("0 10485760")
def much_output(docker):
    done = docker.run("head -c 10485760 /dev/zero | tr '\\0' x")
    return f"{done.status} {len(done.out)}"


@expects("127 no such file; 127 not found in path; 126 permission denied")
def exit_codes_127_and_126(docker):
    missing = docker.run(["/does/not/exist"]).says("no such file")
    unknown = docker.run(["nothing-of-that-name"])
    unknown = f"{unknown.status} not found in path" if "not found in $PATH" in unknown.err \
        else unknown.says("not found in path")
    return f"{missing}; {unknown}; {docker.run(['/srv/plain']).says('permission denied')}"


@expects("126 no such file; 126 permission denied; 126 not found; 3")
def exec_exit_codes(docker):
    container = docker.start("sleep 60")
    missing = docker("exec", container, "/does/not/exist").says("no such file")
    plain = docker("exec", container, "/srv/plain").says("permission denied")
    unknown = docker("exec", container, "nothing-of-that-name")
    unknown = f"{unknown.status} not found" if "not found" in unknown.out + unknown.err else unknown
    return f"{missing}; {plain}; {unknown}; {docker('exec', container, 'sh', '-c', 'exit 3')}"


@expects("5 /dev/pts/0\n33 97\nxterm")
def terminal(docker):
    session = docker.terminal(*docker.flags([
        "--rm", "--interactive", "--tty", "bb:1", "sh", "-c",
        inside.TERMINAL + "echo $TERM; exit 5"]))
    status, text = session.finish()
    return f"{status} {text}"


@expects("7 ready\n40 120")
def terminal_resized(docker):
    session = docker.terminal(*docker.flags([
        "--rm", "--interactive", "--tty", "bb:1", "sh", "-c",
        "until stty size 2>/dev/null | grep -q '33 97'; do sleep 0.05; done; "
        "echo ready; while [ \"$(stty size)\" = '33 97' ]; do sleep 0.05; done; stty size; exit 7"]))
    session.expect("ready").resize(40, 120)
    # The client learns of it by a signal, as from a real terminal.
    session.process.send_signal(signal.SIGWINCH)
    status, text = session.finish()
    return f"{status} {text}"


@expects("130 ready\n^C")
def terminal_interrupted(docker):
    session = docker.terminal(*docker.flags([
        "--rm", "--interactive", "--tty", "bb:1", "sh", "-c",
        "trap 'exit 130' INT; echo ready; while :; do sleep 0.1; done"]))
    status, text = session.expect("ready").type("\x03").finish()
    return f"{status} {text}"


@expects("0 typed is read")
def terminal_typed(docker):
    session = docker.terminal(*docker.flags([
        "--rm", "--interactive", "--tty", "bb:1", "sh", "-c",
        "stty -echo; echo -n ready; read line; echo \"$line is read\""]))
    status, text = session.expect("ready").type("typed\n").finish()
    return f"{status} {text.replace('ready', '')}"


@expects("one\ntwo")
def logs(docker):
    container = docker.start("echo one; echo two >&2; sleep 60")
    return until(lambda: "two" in (done := docker("logs", container)).err and done.out + done.err,
                 "both lines are in the log")


@expects("0 yes of-exec /tmp 0 | 0 1000 1000 extra | 0 outside")
def exec(docker):
    container = docker.start("--env", "A=of-run", "sleep 60")
    one = docker("exec", "--env", "A=of-exec", "--workdir", "/tmp", container,
                 "sh", "-c", "echo $FROM_IMAGE $A $(pwd) $(id -u)")
    two = docker("exec", "--user", "ann", container, "sh", "-c",
                 "echo $(id -u) $(id -g) $(id -Gn | tr ' ' '\\n' | grep extra)")
    three = docker("exec", "--interactive", container, "cat", stdin="outside")
    return f"{one} | {two} | {three}"


@expects("9 /dev/pts/1\n33 97")
def exec_on_a_terminal(docker):
    container = docker.start("--tty", "sleep 60")
    session = docker.terminal("exec", "--interactive", "--tty", container, "sh", "-c",
                              inside.TERMINAL + "exit 9")
    status, text = session.finish()
    return f"{status} {text}"


@expects("done")
def exec_detached(docker):
    container = docker.start("sleep 60")
    docker("exec", "--detach", container, "sh", "-c", "echo done > /tmp/mark").whole()
    return until(lambda: docker("exec", container, "cat", "/tmp/mark").out, "the mark is written")


@expects(None)
def exec_as_init(docker):
    container = docker.start("--cap-drop", "NET_RAW", "--security-opt", "no-new-privileges",
                             "--ulimit", "nofile=100", "sleep 60")
    return docker("exec", container, "sh", "-c",
                  "grep -E '^(Cap|Seccomp:|NoNew|Groups|SigBlk|SigIgn)' /proc/self/status; ulimit -n; "
                  "ls /proc/self/fd; cat /proc/self/oom_score_adj; umask; "
                  "for n in mnt pid net ipc uts user cgroup; do "
                  "[ $(readlink /proc/self/ns/$n) = $(readlink /proc/1/ns/$n) ] || echo not in $n; done")


@expects("20 of 20")
def exec_many_times(docker):
    container = docker.start("sleep 60")
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda number: docker("exec", container, "echo", str(number)).out.strip(),
                             range(20)))
    return f"{sum(said == str(number) for number, said in enumerate(done))} of 20"


@expects("8 of 8")
def run_several_at_once(docker):
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda number: docker.run(["echo", str(number)]).out.strip(), range(8)))
    return f"{sum(said == str(number) for number, said in enumerate(done))} of 8"


@expects("exited 3")
def stop(docker):
    container = docker.start("trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    until(lambda: docker("logs", container).out, "it is ready")
    docker("stop", container).whole()
    return docker.inspect(container, "{{.State.Status}} {{.State.ExitCode}}")


@expects("exited 137")
def stop_of_who_does_not_listen(docker):
    container = docker.start("trap '' TERM; sleep 60")
    docker("stop", "--time", "1", container).whole()
    return docker.inspect(container, "{{.State.Status}} {{.State.ExitCode}}")


@expects("exited 137; exited 4")
def kill(docker):
    container = docker.start("sleep 60")
    docker("kill", container).whole()
    killed = docker.inspect(container, "{{.State.Status}} {{.State.ExitCode}}")
    container = docker.start("trap 'exit 4' USR1; echo ready; while :; do sleep 0.1; done")
    until(lambda: docker("logs", container).out, "it is ready")
    docker("kill", "--signal", "USR1", container).whole()
    docker("wait", container).whole()
    return killed + "; " + docker.inspect(container, "{{.State.Status}} {{.State.ExitCode}}")


@expects("xx running")
def restart(docker):
    container = docker.start("echo -n x >> /tmp/starts; sleep 60")
    until(lambda: docker("exec", container, "cat", "/tmp/starts").out == "x", "it has started")
    docker("restart", "--time", "0", container).whole()
    count = until(lambda: (said := docker("exec", container, "cat", "/tmp/starts").out) == "xx" and said,
                  "it has started again")
    return f"{count} {docker.inspect(container, '{{.State.Status}}')}"


@expects("2 exited 6")
def restart_policy(docker):
    container = docker.start("--restart", "on-failure:2", "exit 6")
    until(lambda: docker.inspect(container, "{{.RestartCount}} {{.State.Status}}") == "2 exited",
          "it was started again twice")
    return docker.inspect(container, "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}")


@expects("sleep 61, sleep 62")
def top(docker):
    container = docker.start("sleep 61 & exec sleep 62")
    until(lambda: "sleep 62" in docker("top", container).out, "both run")
    lines = docker("top", container, "-o", "pid,args").whole().splitlines()[1:]
    return ", ".join(sorted(" ".join(line.split()[1:]) for line in lines))


@expects("2 processes, memory is counted, of 64MiB")
def stats(docker):
    container = docker.start("--memory", "64m", "sleep 61 & exec sleep 62")

    def counted():
        said = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", container).whole())
        used, limit = said["MemUsage"].split(" / ")
        memory = "is counted" if not used.startswith("0B") else "is not counted"
        answer = f"{said['PIDs']} processes, memory {memory}, of {limit}"
        return answer if said["PIDs"] == "2" else None
    return until(counted, "two processes are counted")


@expects("paused; refused; stands; goes on")
def pause_and_unpause(docker):
    container = docker.start("while :; do echo -n x >> /shared/count; sleep 0.05; done")
    count = lambda: len(docker("exec", container, "cat", "/shared/count").out)  # noqa: E731
    until(count, "it counts")
    docker("pause", container).whole()
    status = docker.inspect(container, "{{.State.Status}}")
    refused = "refused" if docker("exec", container, "true").status else "exec works"
    pid = docker.inspect(container, "{{.State.Pid}}")
    path = f"/proc/{pid}/root/shared/count"
    before = len(open(path).read())
    time.sleep(0.5)
    stands = "stands" if before == len(open(path).read()) else "does not stand"
    docker("unpause", container).whole()
    until(lambda: count() > before, "it counts again")
    return f"{status}; {refused}; {stands}; goes on"


@expects("exited 137")
def kill_while_paused(docker):
    container = docker.start("sleep 60")
    docker("pause", container).whole()
    docker("rm", "--force", container).whole()
    container = docker.start("sleep 60")
    docker("pause", container).whole()
    docker("unpause", container).whole()
    docker("kill", container).whole()
    return docker.inspect(container, "{{.State.Status}} {{.State.ExitCode}}")


@expects("0 host-network answered")
def publish(docker):
    docker.start("--publish", "127.0.0.1:18080:80",
                 "mkdir /www; echo answered > /www/index.html; exec httpd -f -p 80 -h /www")

    def answer():
        try:
            with socket.create_connection(("127.0.0.1", 18080), timeout=5) as connection:
                connection.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
                return connection.makefile().read()
        except OSError:
            return ""
    said = until(lambda: "answered" in answer() and answer(), "the port answers")
    return "0 host-network " + said.splitlines()[-1]


@expects("0 1 lo; 0 lo eth0; 0 same")
def networks(docker):
    names = "ip -o link | cut -d: -f2 | cut -d@ -f1 | tr -d '\\n'"
    none = docker.run("--network", "none", "ip -o addr show dev lo | grep -c 127.0.0.1/8; " + names)
    bridge = docker.run(names)
    holder = docker.start("sleep 60")
    address = docker.inspect(holder, "{{.NetworkSettings.IPAddress}}")
    shared = docker.run("--network", f"container:{holder}", f"ip addr | grep -q {address} && echo same")
    return "; ".join(" ".join(str(done).split()) for done in (none, bridge, shared))


@expects("name1 yes; here; /made/here")
def names_and_folders(docker):
    one = docker.run("--hostname", "name1", "--env", "A=yes", "echo $(hostname) $A").whole()
    two = docker.run("--entrypoint", "/bin/echo", ["here"]).whole()
    return f"{one}; {two}; {docker.run('--workdir', '/made/here', 'pwd').whole()}"


@expects("0 docker-init; 0 sh")
def init(docker):
    return f"{docker.run('--init', 'cat /proc/1/comm')}; {docker.run('cat /proc/1/comm; true')}"


@expects("137")
def host_processes_are_seen_and_end(docker):
    container = docker.start("--pid", "host", "sleep 63 & sleep 64")
    until(lambda: "sleep 64" in docker("top", container).out, "it runs")
    docker("kill", container).whole()
    code = docker.inspect(container, "{{.State.ExitCode}}")
    until(lambda: not enclosure.processes_of_command("sleep\x0063"), "its other process has ended")
    return code


@expects("healthy")
def health_check(docker):
    container = docker.start("--health-cmd", "test -e /bin/sh", "--health-interval", "0.5s", "sleep 60")
    form = "{{.State.Health.Status}}"
    return until(lambda: (said := docker.inspect(container, form)) != "starting" and said,
                 "its health is known")


@expects("kept")
def container_is_started_again(docker):
    container = docker.start("[ -e /tmp/kept ] && echo kept; touch /tmp/kept")
    docker("wait", container).whole()
    return docker("start", "--attach", container).whole()


@expects("nothing")
def what_is_left(docker):
    docker.run("true")
    container = docker.start("sleep 60")
    docker("exec", container, "true").whole()
    docker.clear()
    return "\n".join(enclosure.left_behind("docker", docker.left)) or "nothing"
