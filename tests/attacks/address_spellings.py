"""Line 28. Reaches denied addresses by other spellings of them, by whatever way out there is.

To a denied host, to the loopback of the host outside, and to where clouds answer metadata."""

SPELLINGS = {
    "decimal": ("760217681", "2130706433", "2852039166"),
    "hexadecimal": ("0x2d500051", "0x7f000001", "0xa9fea9fe"),
    "octal": ("05524000121", "017700000001", "025177524776"),
    "dotted_hexadecimal": ("0x2d.0x50.0x0.0x51", "0x7f.0x0.0x0.0x1", "0xa9.0xfe.0xa9.0xfe"),
    "dotted_octal": ("055.0120.00.0121", "0177.0.0.01", "0251.0376.0251.0376"),
    "short": ("45.80.81", "127.1", "169.254.43518"),
    "with_a_dot": ("45.80.0.81.", "127.0.0.1.", "169.254.169.254."),
    "in_brackets": ("[45.80.0.81]", "[127.0.0.1]", "[169.254.169.254]"),
    "escaped": ("%34%35.80.0.81", "%31%32%37.0.0.1", "%31%36%39.254.169.254"),
    "wide_digits": ("４５.80.0.81", "１２７.0.0.1", "１６９.254.169.254"),
    "mapped": ("::ffff:45.80.0.81", "::ffff:127.0.0.1", "::ffff:169.254.169.254"),
    "mapped_in_hexadecimal": ("::ffff:2d50:51", "::ffff:7f00:1", "::ffff:a9fe:a9fe"),
    "mapped_in_full": ("0:0:0:0:0:ffff:2d50:51", "0:0:0:0:0:ffff:7f00:1", "0:0:0:0:0:ffff:a9fe:a9fe"),
    "translated": ("64:ff9b::2d50:51", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
    "behind_a_nul": ("45.80.0.81\0.allowed.example", "127.0.0.1\0.allowed.example", "169.254.169.254\0.example"),
    "behind_a_user": ("allowed.example@45.80.0.81", "allowed.example@127.0.0.1", "allowed.example@169.254.169.254"),
    "version_6": (None, "::1", "fd00:ec2::254"),
    "version_6_in_full": ("2a0e:aaaa:0:0:0:0:0:0081", "0:0:0:0:0:0:0:1", "fd00:ec2:0:0:0:0:0:254"),
    "with_a_zone": ("2a0e:aaaa::81%lo", "::1%lo", "fd00:ec2::254%lo"),
    "with_a_zone_escaped": ("2a0e:aaaa::81%25lo", "::1%25lo", "fd00:ec2::254%25lo"),
}
OTHERS = {"in_6to4": "2002:2d50:51::1", "as_zero": "0", "as_zeros": "0.0.0.0", "as_no_address": "::",
          "as_another_loopback": "127.255.255.254", "of_the_link": "fe80::81%lo"}


def by_tunnel(way, host):
    tell(TUNNELS[way](host), request())


for spelling, hosts in SPELLINGS.items():
    for target, host in zip(("denied", "loopback", "metadata"), hosts):
        if host is None:
            continue
        define(f"connect_{target}_{spelling}", by_tunnel, "connect", host)
        define(f"request_{target}_{spelling}", by_request, host)
        # As bytes an address has one spelling alone.
        if (target, spelling) != ("denied", "version_6_in_full"):
            define(f"socks_{target}_{spelling}", by_tunnel, "socks", host)
        if is_literal(host) and "%" not in host:
            define(f"direct_{target}_{spelling}", by_tunnel, "direct", host)
for spelling, host in OTHERS.items():
    define(f"connect_{spelling}", by_tunnel, "connect", host)
    define(f"socks_{spelling}", by_tunnel, "socks", host)
    define(f"direct_{spelling}", by_tunnel, "direct", host if host != "0" else "0.0.0.0")
