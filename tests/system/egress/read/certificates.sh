# An authority, and a certificate of it for allowed.example alone. Usage: certificates.sh FOLDER
set -eu
cd "$1"
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out "$1" 2>/dev/null; }
key authority-key.pem
openssl req -x509 -key authority-key.pem -days 30 -subj "/CN=An authority" -out authority.pem
key key.pem
openssl req -new -key key.pem -subj "/CN=allowed.example" -out request.pem
printf 'subjectAltName=DNS:allowed.example,DNS:six.example\nbasicConstraints=CA:FALSE\n' >extensions
openssl x509 -req -in request.pem -CA authority.pem -CAkey authority-key.pem -CAcreateserial -days 30 \
  -extfile extensions -out certificate.pem 2>/dev/null
chmod a+r key.pem
