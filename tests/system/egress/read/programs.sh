# What programs are told of requests that a policy reads: a name, a status and the path that arrived.
# Usage: programs.sh BUN
set -eu
bun=$1
export HOME=/tmp
secure=https://allowed.example
out='%{http_code} %{http_version}\n'
of() { printf '%s: ' "$1"; }
get() { curl -sS -o /dev/null -w "$out" "$@" 2>&1 || true; }

of 'curl'; get "$secure/v1/a"
of 'curl --http2'; get --http2 "$secure/v1/b?x=/../y"
of 'curl, kept'; curl -sS -o /dev/null -o /dev/null -w '%{http_code} %{num_connects}\n' "$secure/v1/c" "$secure/v1/d"
of 'curl, plain'; get http://allowed.example/v1/e
of 'curl --ipv6'; get --noproxy '*' --ipv6 "$secure/v1/f"
of 'curl, TLS 1.2'; get --tls-max 1.2 "$secure/v1/g"
of 'curl -X POST'; head -c 3000000 /dev/zero | curl -sS --data-binary @- "$secure/v1/notes"; echo
of 'urllib'; /usr/bin/python3 -I -c "import urllib.request; print(urllib.request.urlopen('$secure/v1/h').status)"
of 'bun'; "$bun" -e "console.log((await fetch('$secure/v1/i')).status)"
of 'node'; node -e "require('https').get('$secure/v1/j', (r) => { console.log(r.statusCode); r.resume(); })"
of 'another path'; get "$secure/v2/denied"
of 'another method'; get -X DELETE "$secure/v1/denied"
of 'another method, plain'; get -X DELETE http://allowed.example/v1/denied
of 'denied below'; get "$secure/v1/secret/denied"
of 'denied, by its number'; get --path-as-is "$secure/v1/%73ecret/denied"
of 'another spelling'; get --path-as-is "$secure/v1/../v2/denied"
of 'another host, kept'; get --http1.1 -H 'Host: denied.example' "$secure/v1/denied"
of 'why'; curl -sS "$secure/v2/denied"
of 'another host'; get https://denied.example/v1/denied
