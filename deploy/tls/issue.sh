#!/bin/sh
# Issues a certificate for a server or a client, signed by the CA of a directory:
#
#     issue.sh DIRECTORY NAME [HOST...]
#
# It writes NAME.pem and NAME.key. A server needs each host name and IP address of the URLs that lead to it. The first
# call also creates the CA, ca.pem and ca.key. A certificate is valid for CERTIFICATE_DAYS, by default 365, and the CA
# for ten years.
set -eu

[ $# -ge 2 ] || { echo "usage: issue.sh DIRECTORY NAME [HOST...]" >&2; exit 2; }
directory=$1
name=$2
shift 2

# The keys are secrets.
umask 077
mkdir -p "$directory"
cd "$directory"
key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"

if ! [ -e ca.key ]; then
    # shellcheck disable=SC2086
    openssl req -x509 $key -keyout ca.key -out ca.pem -days 3650 -subj "/CN=Customers by message CA" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" 2>issue.log || { cat issue.log >&2; exit 1; }
fi

hosts=
for host; do
    case $host in
    *:* | [0-9]*.[0-9]*.[0-9]*.[0-9]*) kind=IP ;;
    *) kind=DNS ;;
    esac
    hosts="$hosts${hosts:+,}$kind:$host"
done

# A service is a client, and a server can be the client of another node.
cat >issue.cnf <<EOF
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth,clientAuth
${hosts:+subjectAltName = $hosts}
EOF

# Into other files first, so that a failure keeps the existing certificate.
# shellcheck disable=SC2086
{
    openssl req -new $key -keyout issue.key -out issue.csr -subj "/CN=$name" &&
        openssl x509 -req -in issue.csr -CA ca.pem -CAkey ca.key -days "${CERTIFICATE_DAYS:-365}" \
            -set_serial "0x$(openssl rand -hex 16)" -extfile issue.cnf -out issue.pem
} 2>issue.log || { cat issue.log >&2; exit 1; }
mv issue.key "$name.key"
mv issue.pem "$name.pem"
rm -f issue.csr issue.cnf issue.log
