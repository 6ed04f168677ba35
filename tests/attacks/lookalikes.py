"""Line 31. Names that look like an allowed one, and other spellings of a denied one, lead to a denied host.

One policy allows a name and those below another; one allows all names but one."""

LISTS = {
    "allowed": {
        "below_another": "allowed.example.evil", "longer": "evilallowed.example",
        "with_a_hyphen": "evil-allowed.example",
        "below": "www.below.allowed.example", "of_a_pattern": "evilwild.example",
        "pattern_below_another": "wild.example.evil", "apex_of_a_pattern": "wild.example",
        "behind_a_user": "allowed.example@denied.example", "before_a_path": "denied.example/.allowed.example",
        "before_a_query": "denied.example?.allowed.example", "before_a_fragment": "denied.example#.allowed.example",
        "behind_a_nul": "denied.example\0.allowed.example", "behind_a_blank": "denied.example .allowed.example",
        "behind_a_tab": "denied.example\t.allowed.example", "escaped": "denied.example%00.allowed.example",
        "escaped_path": "denied.example%2f.allowed.example", "idn": "xn--80ak6aa92allowed.example",
        "another_script": "evil\u0430allowed.example", "underscore": "_allowed.example",
    },
    "denied": {
        "with_a_dot": "denied.example.", "capitals": "DENIED.EXAMPLE", "mixed": "dEnIeD.eXaMpLe.",
        "two_dots": "denied.example..", "leading_dot": ".denied.example", "escaped": "d%65nied.example",
        "wide_letters": "\uff44enied.example", "another_dot": "denied\u3002example", "ligature": "denied.e\u02e3ample",
        "with_a_nul": "denied.example\0", "with_a_blank": "denied.example ", "behind_a_user": "user@denied.example",
        "port_twice": "denied.example/:443",
    },
}


def by_tunnel(way, host):
    tell(TUNNELS[way](host), request())


def asked_for(host):
    """By the resolver alone, and then to the address."""
    tell(direct(host), request())


for name, host in LISTS["@LIST@"].items():
    raw = host.encode()
    define(f"socks_{name}", by_tunnel, "socks", raw)
    if " " not in host and "\t" not in host:
        define(f"connect_{name}", by_tunnel, "connect", raw)
        if "/" not in host:
            define(f"request_{name}", by_request, raw)
    if re.fullmatch(r"[\w.-]+", host, re.ASCII) and ".." not in host and not host.startswith("."):
        define(f"direct_{name}", asked_for, host)
