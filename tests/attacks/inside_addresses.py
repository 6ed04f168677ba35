"""Line 29. Reaches what only the host may: metadata of clouds, its loopback, its own addresses, its network.

The policy allows every host of the Internet, and none of these is one."""

HOSTS = {"metadata": METADATA_AT[0], "metadata_of_azure": METADATA_AT[1], "metadata_of_alibaba": METADATA_AT[2],
         "metadata_by_version_6": METADATA_AT[3], "loopback": "127.0.0.1", "loopback_by_version_6": "::1",
         "any": "0.0.0.0", "any_by_version_6": "::", "own": OWN_AT[0], "own_by_version_6": OWN_AT[1],
         "inside": INSIDE_AT[0], "inside_by_version_6": INSIDE_AT[1], "name_of_loopback": "localhost",
         "name_of_loopback_with_a_dot": "localhost.", "name_of_the_host": "host.buntime.internal",
         "name_of_metadata": "metadata.google.internal"}


def by_tunnel(way, host):
    tell(TUNNELS[way](host), request())


for name, host in HOSTS.items():
    for way in TUNNELS:
        define(f"{way}_{name}", by_tunnel, way, host)
    define(f"request_{name}", by_request, host)


@reach
def raw_own():
    tell(by_calls(OWN_AT[0]), request())


@reach
def routes_show_the_host():
    """Whose network this is."""
    with open("/proc/net/fib_trie") as table:
        if OWN_AT[0] not in table.read():
            refused("the host's address is not in this network")
