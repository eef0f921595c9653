#!/bin/bash
# Records office.pcapng: eight virtual machines behind one virtual switch, talking to each other and, through an uplink, to outside hosts.
#
# Every host is a network namespace with ordinary clients and servers. The virtual switch (`vswitch`) and the physical switch (`pswitch`)
# are Open vSwitch bridges in the userspace datapath; they do the 802.1Q tagging, so the kernel needs no VLAN device.
# A mirror port of the virtual switch is the recording point: it sees each frame that enters the virtual switch exactly once.
# The script runs as root, installs nothing, leaves nothing behind but its output, and no frame leaves the namespaces.
#
#   record.sh [OUTPUT.pcapng]

set -euo pipefail

OUTPUT=$(realpath "${1:-$(dirname "$0")/office.pcapng}")
readonly SECONDS_OF_TRAFFIC=25
readonly PREFIX=office-
readonly OUTPUT
readonly MAX_BYTES=2000000

readonly V6_LAN=fd5e:b0e4:7c31:10 V6_VLAN20=fd5e:b0e4:7c31:20

main() {
    require_tools
    WORK=$(mktemp -d -t office.XXXXXX)
    readonly WORK
    trap clean_up EXIT
    build_switches
    build_hosts
    start_servers
    forget_neighbours
    start_recording
    run_traffic
    stop_recording
    check_recording
    install -m 644 "$WORK/office.pcapng" "$OUTPUT"
    sha256sum "$OUTPUT"
}

require_tools() {
    local missing=() pair
    for pair in ip:iproute2 ovs-vswitchd:openvswitch-switch ovsdb-server:openvswitch-switch ethtool:ethtool tcpdump:tcpdump \
        editcap:wireshark-common tshark:tshark nginx:nginx-light redis-server:redis-server redis-cli:redis-tools dnsmasq:dnsmasq-base \
        dig:bind9-dnsutils iperf3:iperf3 curl:curl ping:iputils-ping arping:iputils-arping avahi-daemon:avahi-daemon; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    if ((${#missing[@]})); then
        echo "missing Debian packages: $(printf '%s\n' "${missing[@]}" | sort -u | xargs)" >&2
        exit 2
    fi
    ((EUID == 0)) || { echo "must run as root" >&2; exit 2; }
    if ip netns list | grep -q "^$PREFIX"; then
        echo "namespaces named $PREFIX* exist already" >&2
        exit 2
    fi
}

# Runs a command on one host.
on() {
    local host=$1
    shift
    ip netns exec "$PREFIX$host" "$@"
}

# Same, in the background, with its output kept for a look when something went wrong.
serve() {
    on "$@" >>"$WORK/$1-$2.log" 2>&1 &
}

clean_up() {
    local namespace namespaces pids
    namespaces=$(ip netns list | awk -v p="^$PREFIX" '$1 ~ p {print $1}')
    for namespace in $namespaces; do
        pids=$(ip netns pids "$namespace")
        # shellcheck disable=SC2086
        [[ -z $pids ]] || kill -KILL $pids 2>/dev/null || true
    done
    # shellcheck disable=SC2046
    kill $(jobs -p) 2>/dev/null || true
    wait 2>/dev/null || true
    for namespace in $namespaces; do
        ip netns del "$namespace"
        rm -rf "/etc/netns/$namespace"
    done
    rmdir --ignore-fail-on-non-empty /etc/netns 2>/dev/null || true
    rm -rf "$WORK"
}

# ---- topology ----

build_switches() {
    export OVS_RUNDIR=$WORK/ovs OVS_LOGDIR=$WORK/ovs OVS_DBDIR=$WORK/ovs OVS_SYSCONFDIR=$WORK/ovs
    mkdir "$OVS_RUNDIR"
    add_namespace switch
    # The switch ends of the links must stay mute: no router solicitations, no neighbour discovery of their own.
    on switch sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    add_namespace recorder
    on recorder sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1

    ovsdb-tool create "$WORK/ovs/conf.db" /usr/share/openvswitch/vswitch.ovsschema
    serve switch ovsdb-server "$WORK/ovs/conf.db" --remote="punix:$WORK/ovs/db.sock" --unixctl="$WORK/ovs/db.ctl"
    wait_for test -S "$WORK/ovs/db.sock"
    vsctl --no-wait init
    serve switch ovs-vswitchd "unix:$WORK/ovs/db.sock" --unixctl="$WORK/ovs/vswitchd.ctl"
    vsctl add-br vswitch -- set bridge vswitch datapath_type=netdev
    vsctl add-br pswitch -- set bridge pswitch datapath_type=netdev

    link switch uplink switch downlink
    vsctl add-port vswitch uplink -- add-port pswitch downlink
    link switch mirror recorder tap
    vsctl add-port vswitch mirror -- --id=@out get port mirror \
        -- --id=@m create mirror name=all select_all=true output_port=@out -- set bridge vswitch mirrors=@m >/dev/null
}

vsctl() {
    on switch ovs-vsctl --timeout=10 --db="unix:$WORK/ovs/db.sock" "$@"
}

add_namespace() {
    ip netns add "$PREFIX$1"
    on "$1" sysctl -qw net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.all.autoconf=0 \
        net.ipv6.conf.default.autoconf=0 net.ipv6.conf.default.accept_dad=0
    on "$1" ip link set lo up
}

# link HOST INTERFACE HOST INTERFACE [MAC of the first end]: a cable without offloads, so that frames are at most MTU sized and carry true
# checksums.
link() {
    ip -n "$PREFIX$1" link add "$2" ${5:+address "$5"} mtu 1500 type veth peer name "$4" netns "$PREFIX$3"
    local end
    for end in "$1 $2" "$3 $4"; do
        set -- $end
        on "$1" ethtool -K "$2" tso off gso off gro off tx off rx off sg off >/dev/null
        ip -n "$PREFIX$1" link set "$2" up
    done
}

build_hosts() {
    local n
    for n in 1 2 3 4 5 6; do
        add_vm "$n" 192.168.10 "$V6_LAN" ""
    done
    for n in 7 8; do
        add_vm "$n" 192.168.20 "$V6_VLAN20" tag=20
    done

    add_namespace router
    on router sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    link router lan switch p-lan 02:00:5e:00:0a:01
    link router vlan20 switch p-vlan20 02:00:5e:00:14:01
    vsctl add-port pswitch p-lan -- add-port pswitch p-vlan20 tag=20
    add_addresses router lan 192.168.10.1/24 "$V6_LAN::1/64"
    add_addresses router vlan20 192.168.20.1/24 "$V6_VLAN20::1/64"

    add_outside_host web 203.0.113 2001:db8:113 10 11 12
    add_outside_host data 198.51.100 2001:db8:51 20
    add_outside_host visitor 192.0.2 2001:db8:2 40 41
}

# add_vm N IPV4-PREFIX IPV6-PREFIX PORT-SETTING
add_vm() {
    add_namespace "vm$1"
    link "vm$1" eth0 switch "p-vm$1" "02:5d:00:00:0a:1$1"
    vsctl add-port vswitch "p-vm$1" $4
    add_addresses "vm$1" eth0 "$2.1$1/24" "$3::1$1/64"
    on "vm$1" ip route add default via "$2.1"
    on "vm$1" ip -6 route add default via "$3::1"
    mkdir -p "/etc/netns/${PREFIX}vm$1"
    echo "nameserver $2.1" >"/etc/netns/${PREFIX}vm$1/resolv.conf"
}

# add_outside_host NAME IPV4-PREFIX IPV6-PREFIX LAST-PART...: a host on its own network behind the router, with one pair of addresses per
# last part.
add_outside_host() {
    local name=$1 v4=$2 v6=$3 part
    shift 3
    add_namespace "$name"
    link "$name" eth0 router "to-$name"
    add_addresses router "to-$name" "$v4.1/24" "$v6::1/64"
    for part in "$@"; do
        add_addresses "$name" eth0 "$v4.$part/24" "$v6::$part/64"
    done
    on "$name" ip route add default via "$v4.1"
    on "$name" ip -6 route add default via "$v6::1"
}

add_addresses() {
    on "$1" ip address add "$3" dev "$2"
    on "$1" ip address add "$4" dev "$2" nodad
}

# ---- servers ----

start_servers() {
    make_web_root
    local host port
    for host in web vm1 vm2 vm3 vm4 vm5 vm6 vm7 vm8; do
        serve "$host" nginx -p "$WORK/$host" -c "$WORK/nginx.conf" -e stderr
    done
    for host in data vm6 vm8; do
        serve "$host" redis-server --port 6379 --save "" --appendonly no --protected-mode no --bind 0.0.0.0 :: --dir "$WORK"
    done
    # One iperf3 server serves one test at a time, hence one port a client.
    for port in $(seq 5201 5214); do
        serve data iperf3 -s -p "$port"
    done
    serve vm2 iperf3 -s -p 5201
    serve vm4 iperf3 -s -p 5201
    make_dns_config
    serve router dnsmasq --keep-in-foreground --conf-file="$WORK/dnsmasq.conf"
    sleep 1.5
}

make_web_root() {
    local host
    mkdir "$WORK/www"
    yes 'The office server answers with plain text so that every byte here is our own.' | head -c 240 >"$WORK/www/note" || true
    yes 'A page of some length, about what a status page has. ' | head -c 1500 >"$WORK/www/page" || true
    yes 'A document that takes several full frames to carry. ' | head -c 10000 >"$WORK/www/document" || true
    for host in web vm1 vm2 vm3 vm4 vm5 vm6 vm7 vm8; do
        mkdir "$WORK/$host"
    done
    cat >"$WORK/nginx.conf" <<-CONF
		daemon off;
		user root;
		pid nginx.pid;
		worker_processes 1;
		error_log stderr error;
		events {}
		http {
		    access_log off;
		    client_body_temp_path body;
		    proxy_temp_path proxy;
		    fastcgi_temp_path fastcgi;
		    uwsgi_temp_path uwsgi;
		    scgi_temp_path scgi;
		    keepalive_timeout 60s;
		    server {
		        listen 80;
		        listen [::]:80;
		        root $WORK/www;
		        location /slow { alias $WORK/www/document; limit_rate 500; }
		        location /upload { return 204; }
		    }
		}
	CONF
}

make_dns_config() {
    cat >"$WORK/dnsmasq.conf" <<-CONF
		user=root
		pid-file=
		no-resolv
		no-hosts
		bind-interfaces
		interface=lan
		interface=vlan20
		host-record=web1.example.net,203.0.113.10,2001:db8:113::10
		host-record=web2.example.net,203.0.113.11,2001:db8:113::11
		host-record=web3.example.net,203.0.113.12,2001:db8:113::12
		host-record=data.example.net,198.51.100.20,2001:db8:51::20
		mx-host=example.net,web1.example.net,10
		txt-record=example.net,"an office of eight virtual machines"
		local=/example.net/
		enable-ra
		dhcp-range=$V6_LAN::,ra-only
		dhcp-range=$V6_VLAN20::,ra-only
		ra-param=lan,8,1800
		ra-param=vlan20,8,1800
		dhcp-leasefile=$WORK/leases
	CONF
}

forget_neighbours() {
    local host
    for host in router web data visitor vm{1..8}; do
        on "$host" ip neigh flush all
    done
}

# ---- recording ----

start_recording() {
    # Immediate mode, because a kernel that hands frames over in blocks still holds the last block at the end.
    ip netns exec "${PREFIX}recorder" tcpdump -Z root -i tap -p -B 16384 --immediate-mode --time-stamp-precision=nano \
        -w "$WORK/raw.pcap" 2>"$WORK/tcpdump.log" &
    RECORDER=$!
    wait_for grep -q listening "$WORK/tcpdump.log"
}

stop_recording() {
    sleep 0.5
    kill -INT "$RECORDER"
    wait "$RECORDER" || true
    cat "$WORK/tcpdump.log"
    awk '/captured/ {captured = $1} /received/ {received = $1} /dropped/ {dropped = $1} END {exit captured != received || dropped}' \
        "$WORK/tcpdump.log" || { echo "the recording misses frames" >&2; exit 1; }
    # Through pcap, the section header names no machine; reordercap undoes the odd swap between per-CPU receive queues.
    reordercap "$WORK/raw.pcap" "$WORK/sorted.pcap"
    editcap -F pcapng "$WORK/sorted.pcap" "$WORK/office.pcapng"
}

wait_for() {
    for _ in $(seq 100); do
        "$@" 2>/dev/null && return
        sleep 0.05
    done
    echo "gave up waiting for: $*" >&2
    return 1
}

# ---- traffic ----

run_traffic() {
    CLIENTS=()
    STOP_AT=$((SECONDS + SECONDS_OF_TRAFFIC))
    RANDOM=1
    long_lived_tcp
    long_lived_udp
    pings
    short_connections
    multicast
    bursts
    wait "${CLIENTS[@]}" || true
}

# Starts a client in the background; the run ends when the last client has ended.
start() {
    on "$@" >>"$WORK/clients.log" 2>&1 &
    CLIENTS+=($!)
}

# repeat GAP HOST COMMAND...: runs a client again and again until the traffic ends, with a pause of GAP tenths of a second on average.
repeat() {
    local tenths=$1
    shift
    while ((SECONDS + tenths / 10 < STOP_AT)); do
        sleep "$(printf '%d.%02d' $((tenths / 10)) $((tenths % 10 * 10)))"
        sleep "0.0$((RANDOM % 10))"
        on "$@" >>"$WORK/clients.log" 2>&1 || true
    done &
    CLIENTS+=($!)
}

# times GAP: how often a client that pauses GAP seconds gets its turn while the traffic lasts.
times() {
    awk -v seconds=$SECONDS_OF_TRAFFIC -v gap="$1" 'BEGIN { print int(seconds / gap) }'
}

long_lived_tcp() {
    local t=$SECONDS_OF_TRAFFIC
    # Steady streams, one small segment every 0.4 to 0.5 s on each connection.
    start vm1 iperf3 -c 198.51.100.20 -p 5201 -t $t -P 4 -N -b 2K -l 100
    start vm4 iperf3 -c 2001:db8:51::20 -p 5202 -t $t -P 4 -N -b 2K -l 100
    start vm7 iperf3 -c 198.51.100.20 -p 5203 -t $t -P 3 -N -b 1600 -l 100
    start vm5 iperf3 -c 198.51.100.20 -p 5204 -t $t -P 3 -R -N -b 1600 -l 100
    start vm3 iperf3 -c 192.168.10.12 -p 5201 -t $t -P 2 -N -b 1600 -l 100
    # Request and answer on one connection, from 0.2 s to 1.5 s apart.
    start vm2 redis-cli -h 198.51.100.20 -r "$(times 0.2)" -i 0.2 INCR orders
    start vm6 redis-cli -h 2001:db8:51::20 -r "$(times 0.3)" -i 0.3 GET orders
    start vm8 redis-cli -h 198.51.100.20 -r "$(times 0.5)" -i 0.5 INCR tickets
    start vm1 redis-cli -h 198.51.100.20 -r "$(times 0.75)" -i 0.75 LPUSH mail new
    start vm3 redis-cli -h 2001:db8:51::20 -r "$(times 1.2)" -i 1.2 PING
    start vm5 redis-cli -h 198.51.100.20 -r "$(times 1.5)" -i 1.5 LRANGE mail 0 5
    start vm4 redis-cli -h 192.168.10.16 -r "$(times 0.5)" -i 0.5 INCR jobs
    start vm7 redis-cli -h "$V6_VLAN20::18" -r "$(times 0.75)" -i 0.75 INCR jobs
    start visitor redis-cli -h 192.168.10.16 -r "$(times 0.6)" -i 0.6 INCR visits
    # One kept connection, several requests.
    start vm6 curl -s -4 --rate 90/m "http://web1.example.net/note?[1-$(times 0.67)]" -o /dev/null
    start vm8 curl -s -6 --rate 80/m "http://web2.example.net/note?[1-$(times 0.75)]" -o /dev/null
    start visitor curl -s --rate 60/m "http://192.168.10.15/note?[1-$(times 1)]" -o /dev/null
    # Slow transfers, both directions.
    start vm3 curl -s -4 http://web3.example.net/slow -o /dev/null
    start vm2 curl -s -6 http://web1.example.net/slow -o /dev/null
    start vm5 curl -s -4 --limit-rate 400 --data-binary "@$WORK/www/document" http://web2.example.net/upload
}

long_lived_udp() {
    local t=$SECONDS_OF_TRAFFIC
    start vm2 iperf3 -c 198.51.100.20 -p 5205 -u -t $t -P 4 -b 1500 -l 64
    start vm6 iperf3 -c 2001:db8:51::20 -p 5206 -u -t $t -P 3 -b 1500 -l 64
    start vm8 iperf3 -c 198.51.100.20 -p 5207 -u -t $t -P 2 -R -b 1500 -l 64
    # Datagrams larger than the MTU: three fragments, and two.
    start vm3 iperf3 -c 198.51.100.20 -p 5208 -u -t $t -b 12K -l 3000
    start vm1 iperf3 -c 2001:db8:51::20 -p 5209 -u -t $t -b 6K -l 1600
    start vm7 iperf3 -c 198.51.100.20 -p 5210 -u -t $t -b 6K -l 1600
}

pings() {
    local n
    for n in 1 3 5 7; do
        start "vm$n" ping -q -c "$(times 1)" -i 1 203.0.113.1$((n / 3))
        start "vm$((n + 1))" ping -q -c "$(times 1)" -i 1 "2001:db8:113::1$((n / 3))"
    done
    start vm2 ping -q -c "$(times 1.4)" -i 1.4 192.168.10.13
    start vm8 ping -q -c "$(times 1.4)" -i 1.4 "$V6_VLAN20::17"
    start visitor ping -q -c "$(times 1.4)" -i 1.4 192.168.10.14
    start visitor ping -q -c "$(times 1.4)" -i 1.4 "$V6_VLAN20::18"
    start vm4 ping -q -c 4 -i 6 -s 4000 203.0.113.10
    start vm6 ping -q -c 4 -i 6 -s 4000 2001:db8:113::11
    start visitor ping -q -c 3 -i 9 -s 4000 192.168.20.17
}

short_connections() {
    local n family names=(web1 web2 web3 data)
    for n in 1 2 3 4 5 6 7 8; do
        family=$((n % 2 ? 4 : 6))
        repeat 14 "vm$n" curl -s -$family "http://web$((n % 3 + 1)).example.net/note" -o /dev/null
        repeat 19 "vm$n" dig +tries=1 +time=1 "@$( ((n < 7)) && echo 192.168.10.1 || echo 192.168.20.1)" \
            "${names[n % 4]}.example.net" "$( ((n % 2)) && echo AAAA || echo A)"
    done
    repeat 41 vm1 curl -s -4 http://web2.example.net/page -o /dev/null
    repeat 43 vm4 curl -s -6 http://web1.example.net/page -o /dev/null
    repeat 95 vm7 curl -s -4 http://web3.example.net/document -o /dev/null
    repeat 80 vm2 curl -s -4 --data-binary "@$WORK/www/page" http://web1.example.net/upload
    repeat 60 vm5 dig +tcp +tries=1 +time=1 @192.168.10.1 example.net TXT
    # From outside to servers on the virtual machines.
    for n in 1 3 5; do
        repeat 22 visitor curl -s "http://192.168.10.1$n/note" -o /dev/null
        repeat 25 visitor curl -s "http://[$V6_LAN::1$((n + 1))]/note" -o /dev/null
    done
    repeat 22 visitor curl -s http://192.168.20.17/note -o /dev/null
    # From one virtual machine to another.
    repeat 15 vm3 curl -s http://192.168.10.14/note -o /dev/null
    repeat 19 vm6 curl -s "http://[$V6_LAN::11]/note" -o /dev/null
    repeat 18 vm7 curl -s http://192.168.20.18/note -o /dev/null
}

multicast() {
    local n
    for n in 1 4; do
        cat >"$WORK/avahi-vm$n.conf" <<-CONF
			[server]
			host-name=vm$n
			use-ipv4=yes
			use-ipv6=yes
			allow-interfaces=eth0
			enable-dbus=no
			[publish]
			publish-workstation=yes
			publish-hinfo=no
		CONF
        # A private /run, because the daemon insists on a process file of fixed name.
        serve "vm$n" sh -c "mount -t tmpfs none /run && exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f $WORK/avahi-vm$n.conf"
    done
    repeat 70 vm5 arping -q -c 1 -I eth0 -D 192.168.10.99
    start vm2 ping -q -b -c 3 -i 8 192.168.10.255
}

# Dense streams across one third and two thirds of the time, where a replay takes a member away and brings it back:
# 20 ms apart like speech, and trains of segments less than a millisecond apart.
bursts() {
    later 0.22 vm8 iperf3 -c 198.51.100.20 -p 5211 -u -t 7 -b 24K -l 60
    later 0.54 vm4 iperf3 -c 2001:db8:51::20 -p 5212 -u -t 7 -b 24K -l 60
    later 0.29 vm6 iperf3 -c 198.51.100.20 -p 5213 -t 2 -N -b 120K -l 100 --pacing-timer 40000
    later 0.62 vm1 iperf3 -c 198.51.100.20 -p 5214 -t 2 -N -b 120K -l 100 --pacing-timer 40000
    later 0.30 vm5 iperf3 -c 192.168.10.14 -p 5201 -t 2 -N -b 60K -l 100 --pacing-timer 40000
}

# later PART HOST COMMAND...: starts a client when that part of the time has passed.
later() {
    {
        sleep "$(awk -v seconds=$SECONDS_OF_TRAFFIC -v part="$1" 'BEGIN { print seconds * part }')"
        shift
        on "$@" >>"$WORK/clients.log" 2>&1
    } &
    CLIENTS+=($!)
}

# ---- what a recording must be before it is kept ----

check_recording() {
    local file=$WORK/office.pcapng bytes frames repeated wrong protocol bad=frame.len==0
    bytes=$(stat -c %s "$file")
    frames=$(tshark -r "$file" -T fields -e frame.number 2>/dev/null | wc -l)
    # A copy made by the switch would follow its original at once; the same bytes sent again later are a sender's own business.
    editcap -w 0.005 "$file" "$WORK/unique.pcapng" 2>/dev/null
    repeated=$((frames - $(tshark -r "$WORK/unique.pcapng" -T fields -e frame.number 2>/dev/null | wc -l)))
    for protocol in ip tcp udp icmp icmpv6; do
        bad+=" || $protocol.checksum.status == 0"
    done
    wrong=$(tshark -r "$file" -o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE -Y "$bad" 2>/dev/null | wc -l)
    echo "bytes $bytes, frames $frames, repeated $repeated, wrong checksums $wrong"
    if ((bytes >= MAX_BYTES || repeated > 0 || wrong > 0)); then
        install -m 644 "$file" "$OUTPUT.rejected"
        echo "not kept as the capture; see $OUTPUT.rejected" >&2
        exit 1
    fi
}

main
