"""An ordinary user's containers: with and without a delegated group, with one id and with many."""

import json
import os
import subprocess

from callers import answers
from callers.command import until

from .caller import MIB, PATIENCE, TOP, Caller, groups, lines

SCENARIOS = answers.Scenarios()
expects = SCENARIOS.expects
USER, HOME = 1000, "/run/user/1000"
# What systemd would delegate, and the group beside it that nobody does.
DELEGATED, FOREIGN = "/delegated", "/foreign"


class User(Caller):
    """The same as an ordinary user, who stands in a group of its own."""

    def __init__(self, runtimes):
        super().__init__(runtimes)
        self.place = DELEGATED
        os.makedirs(HOME, exist_ok=True)
        os.chown(HOME, USER, USER)
        for top in (DELEGATED, FOREIGN):
            os.makedirs(f"{TOP}{top}/session", exist_ok=True)
        for controllers in (f"{TOP}/cgroup.subtree_control", f"{TOP}{DELEGATED}/cgroup.subtree_control"):
            for controller in ("memory", "pids", "cpu"):
                with open(controllers, "w") as file:
                    file.write(f"+{controller}")
        for folder in (f"{TOP}{DELEGATED}", f"{TOP}{DELEGATED}/session"):
            for name in ("", "/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads"):
                os.chown(folder + name, USER, USER)

    def command(self, *words):
        # Enters the group while it is root still, as a login does.
        script = f"echo $$ > {TOP}{self.place}/session/cgroup.procs && exec \"$@\""
        return ["sh", "-c", script, "sh", "setpriv", "--reuid", str(USER), "--regid", str(USER),
                "--init-groups", "env", f"HOME={HOME}", f"XDG_RUNTIME_DIR={HOME}",
                self.runtimes[self.runtime], "--root", f"{HOME}/state-{self.runtime}", *words]

    def clear(self):
        super().clear()
        self.place = DELEGATED

    def spec(self, script):
        made = super().spec(script)
        made["linux"]["namespaces"].append({"type": "user"})
        made["linux"]["uidMappings"] = [{"containerID": 0, "hostID": USER, "size": 1}]
        made["linux"]["gidMappings"] = [{"containerID": 0, "hostID": USER, "size": 1}]
        made["linux"]["resources"] = {}
        return made

    def delegated(self, script, **changes):
        """A started container in a group that was delegated: its id and its group."""
        name = self.start(script, path=f"{DELEGATED}/inner", **changes)
        return name, f"{TOP}{DELEGATED}/inner"


def many_ids(made):
    """The range that the user has in /etc/subuid, which newuidmap gives."""
    for kind in ("uid", "gid"):
        first = int(next(line for line in lines(f"/etc/sub{kind}") if line.startswith("user:"))
                    .split(":")[1])
        made["linux"][f"{kind}Mappings"].append({"containerID": 1, "hostID": first, "size": 65536})


def user(number):
    """The user of a process, as the host sees it."""
    return next(line.split()[1] for line in lines(f"/proc/{number}/status") if line.startswith("Uid:"))


@expects("0 0 0 1000 1 0")
def a_run(runtime):
    return " ".join(str(runtime.run("echo $(id -u) $(cat /proc/self/uid_map) $(id -g)",
                                    path=None)).split())


@expects("0 0 5 7")
def many_ids_by_newuidmap(runtime):
    script = "touch /tmp/x && chown 5:7 /tmp/x && echo $(id -u) $(stat -c '%u %g' /tmp/x)"

    def change(made):
        many_ids(made)
        for kind in made["process"]["capabilities"].values():
            kind.append("CAP_CHOWN")
    return str(runtime.run(script, path=None, change=change))


@expects("denied")
def ids_that_are_not_the_users(runtime):
    def change(made):
        made["linux"]["uidMappings"][0]["hostID"] = 0
    done = runtime.run("cat /proc/self/uid_map", path=None, change=change)
    return "denied" if done.status != 0 and "0" not in done.out else f"{done}"


@expects(f"{64 * MIB} 42; ok; gone")
def limits_in_a_delegated_group(runtime):
    name, place = runtime.delegated("sleep 600", memory={"limit": 64 * MIB}, pids={"limit": 42})
    said = " ".join(lines(f"{place}/{file}")[0] for file in ("memory.max", "pids.max"))
    inside = len(lines(f"{place}/cgroup.procs")) >= 1
    runtime("delete", "--force", name).whole()
    return f"{said}; {'ok' if inside else 'outside'}; {'there' if os.path.exists(place) else 'gone'}"


@expects("137")
def out_of_memory(runtime):
    return str(runtime.run(["tail", "/dev/zero"], path=f"{DELEGATED}/inner",
                           memory={"limit": 16 * MIB, "swap": 16 * MIB}).status)


@expects("refused")
def limits_without_a_group(runtime):
    """A limit that nothing can hold is no limit: it has to be refused."""
    runtime.place = FOREIGN
    done = runtime.run("echo unlimited", path=None, memory={"limit": 64 * MIB})
    return "refused" if done.status != 0 and "unlimited" not in done.out else str(done)


@expects("0 works")
def no_limits_without_a_group(runtime):
    runtime.place = FOREIGN
    return str(runtime.run("echo works", path=None))


@expects("1000 1000; 0 0 0 1000 1; True")
def exec(runtime):
    """What is executed inside is the user outside: never root of the host."""
    name, place = runtime.delegated("sleep 600")
    subprocess.run(runtime.command("exec", "--detach", name, "sleep", "601"), check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: len(lines(f"{place}/cgroup.procs")) == 2, "both are in the group", PATIENCE)
    numbers = lines(f"{place}/cgroup.procs")
    seen = str(runtime("exec", name, "sh", "-c", "echo $(id -u) $(cat /proc/self/uid_map)"))
    same = len({os.readlink(f"/proc/{number}/ns/user") for number in numbers}) == 1
    return f"{' '.join(map(user, numbers))}; {seen}; {same}"


@expects("paused; running; 2; stopped")
def pause_and_ps(runtime):
    name, _ = runtime.delegated("sleep 600 & sleep 601")
    said = []
    for verb in ("pause", "resume"):
        runtime(verb, name).whole()
        said.append(runtime.state(name))
    said.append(str(len(json.loads(runtime("ps", "--format", "json", name).whole()))))
    runtime("kill", name, "KILL").whole()
    return "; ".join([*said, runtime.state(runtime.stopped(name))])


@expects("nothing nothing")
def what_is_left(runtime):
    before = groups()
    name, _ = runtime.delegated("sleep 600")
    runtime("delete", "--force", name).whole()
    runtime.run("true", path=None)
    left = groups() - before
    state = [entry for entry in os.listdir(f"{HOME}/state-{runtime.runtime}") if entry.startswith("c")]
    return f"{left or 'nothing'} {state or 'nothing'}"
